"""A copy killed with SIGKILL at every point: the source stays, the target is empty or complete, a second call works."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import DatabaseError
from mlflow_sftp.operations.database_copy import copy_database
from tests.integration.database_copy.conftest import Dump

# Where the process dies, as code that arms it. The product has no switches for this.
POINTS = {
    "schema_half_made": "schema.InitialBase.metadata.create_all = lambda *a, **k: die()",
    "schema_made": "target._empty = lambda *a: die()",
    "rows_half_written": "copying.write = lambda c, t, r: die() if t.name == 'spans' else write(c, t, r)",
    "rows_written": "copying.compare = lambda *a: die()",
    "compared": "sa.Connection.commit = lambda *a: die()",
    "committed": "commit = sa.Connection.commit\nsa.Connection.commit = lambda c: (commit(c), die())",
    "file_complete": "os.replace = die\ntarget.Path.replace = lambda *a: die()",
    "file_renamed": "rename = target.Path.replace\ntarget.Path.replace = lambda a, b: (rename(a, b), die())",
}
IN_POSTGRESQL = [
    "schema_half_made",
    "schema_made",
    "rows_half_written",
    "rows_written",
    "compared",
    "committed",
]
IN_SQLITE = ["schema_made", "rows_half_written", "rows_written", "committed", "file_complete", "file_renamed"]
COMPLETE = {"postgresql": {"committed"}, "sqlite": {"file_renamed"}}

CHILD = """
import os, signal, sys
import sqlalchemy as sa
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_copy import copying, schema, target
write = copying.write
def die():
    os.kill(os.getpid(), signal.SIGKILL)
{arm}
with Database(sys.argv[1]) as database:
    copying.copy_database(database, sys.argv[2])
"""


def run_and_die(uri: str, target: str, arm: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD.format(arm=arm), uri, target], capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()


@pytest.mark.parametrize("point", IN_POSTGRESQL)
def test_killed_on_the_way_to_postgresql(
    filled: Path, empty: str, point: str, dump: Callable[[Path], Dump]
) -> None:
    before = dump(filled)
    run_and_die(f"sqlite:///{filled}", empty, POINTS[point])
    assert dump(filled) == before
    assert_second_call_works(f"sqlite:///{filled}", empty, complete=point in COMPLETE["postgresql"])


@pytest.mark.parametrize("point", IN_SQLITE)
def test_killed_on_the_way_to_sqlite(moved: str, tmp_path: Path, point: str) -> None:
    file = tmp_path / "mlflow.db"
    run_and_die(moved, f"sqlite:///{file}", POINTS[point])
    complete = point in COMPLETE["sqlite"]
    assert file.exists() == complete
    assert_second_call_works(moved, f"sqlite:///{file}", complete=complete)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def assert_second_call_works(uri: str, target: str, *, complete: bool) -> None:
    if target.startswith("postgresql"):
        assert tables_in(target) in ((0, 1) if not complete else (1,))
    with Database(uri) as source:
        assert copy_database(source, target).changed is not complete
        assert copy_database(source, target).changed is False


def tables_in(uri: str) -> int:
    """1 where there are any."""
    with psycopg.connect(uri.replace("+psycopg", "")) as connection:
        found = connection.execute(
            "SELECT count(*) > 0 FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_killed_at_any_moment(
    filled: Path, moved: str, empty: str, tmp_path: Path, direction: str, dump: Callable[[Path], Dump]
) -> None:
    uri, target = {
        "up": (f"sqlite:///{filled}", empty),
        "down": (moved, f"sqlite:///{tmp_path}/mlflow.db"),
    }[direction]
    before = dump(filled)
    arm = "print('armed', flush=True)"
    outcomes = set()
    for tenth in range(30):
        command = [sys.executable, "-c", CHILD.format(arm=arm), uri, target]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(tenth / 5)
        child.kill()
        child.wait()
        child.stdout.close()
        assert dump(filled) == before
        with Database(uri) as source:
            try:
                changed = copy_database(source, target, check=True).changed
            except DatabaseError as error:
                pytest.fail(f"after {tenth / 5} s: {error}")
        outcomes.add(changed)
        if not changed:
            break
    with Database(uri) as source:
        copy_database(source, target)
        assert copy_database(source, target).changed is False
    assert outcomes >= {True}
    left = {path.name for path in tmp_path.iterdir()}
    assert left == ({"filled.db"} if direction == "up" else {"filled.db", "mlflow.db"})
    assert not os.path.exists(f"{tmp_path}/.mlflow.db.copy-database.tmp")
