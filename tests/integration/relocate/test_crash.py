"""A re-rooting killed with SIGKILL at every point: the state is decidable, and both ways out work."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import DatabaseError
from mlflow_sftp.operations import relocate
from mlflow_sftp.operations.relocate import Request
from tests.integration.relocate.conftest import Dump, Filled

pytestmark = pytest.mark.full

SFTP = "sftp://h/p"

# Where the process dies, as code that arms it. The product has no switches for this.
POINTS = {
    "before_journal": "transaction.write_journal = lambda *a: die()",
    "journal_half_written": "os.fsync = lambda *a: die()",
    "journal_written": "transaction._update = lambda *a: die()",
    "rows_changed": "sa.Connection.commit = lambda *a: die()",
    "committed": "commit = sa.Connection.commit\nsa.Connection.commit = lambda c: (commit(c), die())",
}

CHILD = """
import os, signal, sys
import sqlalchemy as sa
from pathlib import Path
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations import relocate
from mlflow_sftp.operations.relocate import transaction
def die():
    os.kill(os.getpid(), signal.SIGKILL)
{arm}
uri, old, new, journal, action = sys.argv[1:]
with Database(uri) as database:
    if action == "apply":
        relocate.apply(database, relocate.Request((old,), new), Path(journal), backup=None)
    else:
        {{"undo": relocate.undo, "redo": relocate.redo}}[action](database, Path(journal))
"""


def run_and_die(filled: Filled, journal: Path, arm: str, action: str = "apply") -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD.format(arm=arm), filled.uri, filled.root, SFTP, str(journal), action],
        capture_output=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()


@pytest.mark.parametrize("point", POINTS)
def test_killed_apply_on_sqlite_is_finished_or_undone(
    sqlite_copy: Filled, point: str, tmp_path: Path, dump: Callable[[str], Dump]
) -> None:
    kill_and_recover(sqlite_copy, point, tmp_path, dump)


@pytest.mark.parametrize("point", ["journal_written", "rows_changed", "committed"])
def test_killed_apply_on_postgresql_is_finished_or_undone(
    postgres_copy: Filled, point: str, tmp_path: Path, dump: Callable[[str], Dump]
) -> None:
    kill_and_recover(postgres_copy, point, tmp_path, dump)


def kill_and_recover(filled: Filled, point: str, tmp_path: Path, dump: Callable[[str], Dump]) -> None:
    before = dump(filled.uri)
    journal = tmp_path / "journal"
    run_and_die(filled, journal, POINTS[point])
    committed = point == "committed"
    assert journal.exists() == (point in ("journal_written", "rows_changed", "committed"))
    with Database(filled.uri) as database:
        if journal.exists():
            assert relocate.state(database, journal).verdict == ("applied" if committed else "not_applied")
        if not committed:
            assert dump(filled.uri) == before
        applied = relocate.apply(database, Request((filled.root,), SFTP), journal, backup=None)
        assert applied.changed is not committed
        assert relocate.state(database, journal).verdict == "applied"
        relocate.undo(database, journal)
    assert dump(filled.uri) == before


@pytest.mark.parametrize("point", ["rows_changed", "committed"])
def test_killed_undo_is_finished_by_the_next_one(
    filled: Filled, point: str, tmp_path: Path, dump: Callable[[str], Dump]
) -> None:
    before = dump(filled.uri)
    journal = tmp_path / "journal"
    with Database(filled.uri) as database:
        relocate.apply(database, Request((filled.root,), SFTP), journal, backup=None)
    run_and_die(filled, journal, POINTS[point], "undo")
    with Database(filled.uri) as database:
        expected = "not_applied" if point == "committed" else "applied"
        assert relocate.state(database, journal).verdict == expected
        relocate.undo(database, journal)
    assert dump(filled.uri) == before


@pytest.mark.parametrize("point", ["rows_changed", "committed"])
def test_killed_redo_is_finished_by_the_next_one(
    filled: Filled, point: str, tmp_path: Path, dump: Callable[[str], Dump]
) -> None:
    journal = tmp_path / "journal"
    with Database(filled.uri) as database:
        relocate.apply(database, Request((filled.root,), SFTP), journal, backup=None)
        applied = dump(filled.uri)
        relocate.undo(database, journal)
    run_and_die(filled, journal, POINTS[point], "redo")
    with Database(filled.uri) as database:
        expected = "applied" if point == "committed" else "not_applied"
        assert relocate.state(database, journal).verdict == expected
        relocate.redo(database, journal)
    assert dump(filled.uri) == applied


def test_a_crash_of_the_database_server_loses_nothing_committed(
    postgres_copy: Filled, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    with Database(postgres_copy.uri) as database:
        relocate.apply(database, Request((postgres_copy.root,), SFTP), journal, backup=None)
    request.getfixturevalue("postgres").restart()
    with Database(postgres_copy.uri) as database:
        assert relocate.state(database, journal).verdict == "applied"


def test_a_writer_in_the_middle_of_a_transaction_is_waited_for_then_named(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_sftp.database.database.LOCK_TIMEOUT_S", 1)
    with Database(filled.uri) as writer, writer.locked():
        with (
            Database(filled.uri) as database,
            pytest.raises(DatabaseError, match="stop the MLflow server"),
        ):
            relocate.apply(database, Request((filled.root,), SFTP), tmp_path / "journal", backup=None)
        assert os.listdir(tmp_path) in ([], ["mlflow.db"])
