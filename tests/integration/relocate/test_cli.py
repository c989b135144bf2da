"""The `relocate` commands, as an operator calls them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlflow_sftp.cli.main import main
from mlflow_sftp.cli.relocate import relocate_group
from tests.integration.relocate.conftest import Filled

SFTP = "sftp://freegee:hidden@tajo.host.ch:2121/agent.freegee.ch/artifacts"


def call(filled: Filled, *arguments: str) -> Result:
    return CliRunner().invoke(relocate_group, arguments, env={"MLFLOW_BACKEND_STORE_URI": filled.uri})


def test_plan_apply_state_scan_undo(sqlite_copy: Filled, tmp_path: Path) -> None:
    roots = ("--from", sqlite_copy.root, "--to", SFTP)
    journal = ("--journal", str(tmp_path / "journal"))
    planned = call(sqlite_copy, "plan", *roots, "--json")
    assert planned.exit_code == 0, planned.output
    plan = json.loads(planned.stdout)
    assert plan["rows_to_move"] == 13
    assert plan["contract"] == 1
    assert plan["report_only"]["datasets.dataset_source"] == 1
    assert plan["directories"]
    assert all((sqlite_copy.content.root / directory).is_dir() for directory in plan["directories"])
    assert plan["already_moved"] == []
    # One location is not below the root.
    assert plan["places_after"] == ["local", "sftp://freegee@tajo.host.ch:2121"]
    text = call(sqlite_copy, "plan", *roots, "--rows").stdout
    assert "runs.artifact_uri                        5 move" in text
    assert "freegee:***@tajo" in text
    assert "hidden" not in text
    applied = call(sqlite_copy, "apply", *roots, *journal, "--backup", str(tmp_path / "backup"), "--json")
    assert applied.exit_code == 0, applied.output
    assert json.loads(applied.stdout)["changed"] is True
    assert call(sqlite_copy, "state", *journal).stdout.startswith("applied (13 new, 0 old")
    assert call(sqlite_copy, "scan", sqlite_copy.root).exit_code == 0
    assert call(sqlite_copy, "scan", SFTP).exit_code == 3
    assert "13 locations would be changed" in call(sqlite_copy, "undo", *journal, "--check").stdout
    assert json.loads(call(sqlite_copy, "undo", *journal, "--json").stdout)["rows"] == 13
    assert call(sqlite_copy, "state", *journal).stdout.startswith("not_applied")
    assert call(sqlite_copy, "redo", *journal).stdout.startswith("13 locations changed, 0 rows are gone")
    assert call(sqlite_copy, "state", *journal).stdout.startswith("applied")


def test_a_plan_with_blocked_rows_has_its_own_exit_code(sqlite_copy: Filled) -> None:
    planned = call(sqlite_copy, "plan", "--from", sqlite_copy.root, "--to", f"/{'d' * 180}")
    assert planned.exit_code == 3
    assert "blocked: runs.artifact_uri" in planned.stdout
    assert "use a shorter root" in planned.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plan", "--from", "/a", "--to", "/a"], 1, "same place"),
        (["undo", "--journal", "/nowhere"], 1, "/nowhere: the journal cannot be read"),
        (["apply", "--from", "/a", "--to", "/b", "--journal", "/j"], 2, "--backup PATH or --no-backup"),
    ],
)
def test_errors_are_one_line(sqlite_copy: Filled, arguments: list[str], code: int, message: str) -> None:
    result = call(sqlite_copy, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    arguments = ["scan", "--database", f"sqlite:///{tmp_path}/none.db", "/a"]
    result = CliRunner().invoke(relocate_group, arguments)
    assert (result.exit_code, "there is no such file" in result.stderr) == (1, True)


def test_info_counts_store_and_database(sqlite_copy: Filled, tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["info", sqlite_copy.root, "--database", sqlite_copy.uri, "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    files = [path for path in sqlite_copy.content.root.rglob("*") if path.is_file()]
    assert (found["contract"], found["store"]["exists"]) == (1, True)
    assert (found["store"]["files"], found["store"]["bytes"]) == (
        len(files),
        sum(f.stat().st_size for f in files),
    )
    with closing(sqlite3.connect(sqlite_copy.uri.removeprefix("sqlite:///"))) as connection:
        runs = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    assert found["database"]["counts"]["runs"]["total"] == runs
    assert "names" not in found["store"]
    named = CliRunner().invoke(main, ["info", sqlite_copy.root, "--names", "--json"])
    names = {str(path.relative_to(sqlite_copy.content.root)) for path in files}
    assert set(json.loads(named.stdout)["store"]["names"]) == names
    text = CliRunner().invoke(main, ["info", str(tmp_path / "nowhere"), "--database", sqlite_copy.uri])
    assert "not there yet" in text.stdout
    assert f"{runs:12} runs" in text.stdout
    assert CliRunner().invoke(main, ["info"], env={"MLFLOW_BACKEND_STORE_URI": ""}).exit_code == 2


def test_info_tells_space_without_counting(sqlite_copy: Filled) -> None:
    database = ["--database", sqlite_copy.uri]
    size = Path(sqlite_copy.uri.removeprefix("sqlite:///")).stat().st_size
    done = CliRunner().invoke(main, ["info", sqlite_copy.root, *database, "--space", "--json"])
    found = json.loads(done.stdout)
    assert set(found["store"]) == {"store", "free_bytes", "total_bytes"}
    assert found["store"]["free_bytes"] > 0
    assert (set(found["database"]), found["database"]["bytes"]) == ({"database", "bytes"}, size)


def test_backup_writes_a_whole_database_or_says_why_not(sqlite_copy: Filled, tmp_path: Path) -> None:
    target = tmp_path / "new" / "backup.db"
    made = CliRunner().invoke(main, ["backup", str(target), "--database", sqlite_copy.uri, "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["bytes"] == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone()[0] > 0
    refused = CliRunner().invoke(main, ["backup", "/proc/x/backup", "--database", sqlite_copy.uri, "--json"])
    assert refused.exit_code == 1
    assert isinstance(refused.exception, SystemExit)
    error = json.loads(refused.stdout)["error"]
    assert "/proc/x/backup cannot be written" in error["seen"]
    assert "directory that this user may write to" in error["remedy"]
