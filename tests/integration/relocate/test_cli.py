"""The `relocate` commands, as an operator calls them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

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
    assert plan["report_only"]["datasets.dataset_source"] == 1
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
