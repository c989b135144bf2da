"""`mlflow-sftp copy-database`, as an operator and a playbook call it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlflow_sftp.cli.main import main
from tests.support.postgres import PostgresServer


def call(source: str, target: str, *arguments: str) -> Result:
    environment = {"MLFLOW_BACKEND_STORE_URI": source, "MLFLOW_SFTP_TARGET_DATABASE_URI": target}
    return CliRunner().invoke(main, ["copy-database", *arguments], env=environment)


def test_check_copy_and_again(filled: Path, empty: str) -> None:
    source = f"sqlite:///{filled}"
    checked = call(source, empty, "--check", "--json")
    assert checked.exit_code == 0, checked.output
    would = json.loads(checked.stdout)
    copied = call(source, empty, "--json")
    assert copied.exit_code == 0, copied.output
    # Neither MLflow's words nor alembic's; that it takes long may be said.
    assert all(line.startswith("still copying") for line in copied.stderr.splitlines())
    done = json.loads(copied.stdout)
    assert set(done) == {
        "contract", "from", "to", "tables", "rows", "seconds", "changed", "bytes", "free_bytes", "problems",
    }  # fmt: skip
    assert (done["from"], done["to"]) == (source, empty.partition("?")[0])
    assert (done["changed"], done["problems"], done["free_bytes"]) == (True, [], None)
    assert done["bytes"] == filled.stat().st_size
    assert done["tables"] == would["tables"]
    again = call(source, empty)
    assert (again.exit_code, "rows were there already, all equal" in again.stdout) == (0, True)


def test_problems_have_their_own_exit_code_and_an_error_is_one_line(filled: Path, empty: str) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        rows = connection.execute("UPDATE params SET value = value || char(0)").rowcount
    checked = call(f"sqlite:///{filled}", empty, "--check", "--keys", "1", "--json")
    assert checked.exit_code == 3
    (problem,) = json.loads(checked.stdout)["problems"]
    assert set(problem) == {"table", "column", "reason", "rows", "keys"}
    assert (problem["table"], problem["rows"], len(problem["keys"])) == ("params", rows, 1)
    text = call(f"sqlite:///{filled}", empty, "--check")
    assert f"cannot be copied: params.value holds a NUL character (rows: {rows}): key=" in text.stdout
    refused = call(f"sqlite:///{filled}", empty, "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"]["cause"] == "blocked"
    # A busy machine may report progress in front of the error.
    assert len([line for line in refused.stderr.splitlines() if not line.startswith("still copying ")]) == 1


def test_a_password_is_never_shown(filled: Path, empty: str, postgres: PostgresServer) -> None:
    postgres.set_password("pa55word")
    right = empty.replace("postgres@", "cautious:pa55word@")
    for target, code in ((right.replace("pa55word", "wr0ng"), 1), (right, 0)):
        result = call(f"sqlite:///{filled}", target, "--json")
        assert result.exit_code == code, result.output
        assert "pa55word" not in result.output
        assert "wr0ng" not in result.output


@pytest.mark.parametrize("arguments", [["--check"], []])
def test_a_target_must_be_named(filled: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["copy-database", "--database", f"sqlite:///{filled}", *arguments])
    assert (result.exit_code, "--target-database" in result.stderr) == (2, True)
