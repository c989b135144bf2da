"""A copy killed with SIGKILL at every point: the source stays, the target is empty or complete, a second call works."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_copy import copy_database
from tests.integration.database_copy.conftest import Dump

pytestmark = pytest.mark.full

# Where the process dies, as code that arms it. The product has no switches for this.
POINTS = {
    "schema_half_made": "schema.InitialBase.metadata.create_all = lambda *a, **k: die()",
    "schema_made": "target._empty = lambda *a: die()",
    "rows_half_written": "copying.write = lambda c, t, r: write(c, t, killing(r) if t.name == 'spans' else r)",
    "rows_written": "copying.compare = lambda *a: die()",
    "compared": "sa.Connection.commit = lambda *a: die()",
    "committed": "commit = sa.Connection.commit\nsa.Connection.commit = lambda c: (commit(c), die())",
    "file_complete": "target.Path.replace = lambda *a: die()",
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
def killing(rows):
    yield next(rows)
    die()
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
    assert_second_call_works(moved, f"sqlite:///{file}", complete=point in COMPLETE["sqlite"])
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def assert_second_call_works(uri: str, target: str, *, complete: bool) -> None:
    assert tables_in(target) is complete
    with Database(uri) as source:
        assert copy_database(source, target).changed is not complete
        assert copy_database(source, target).changed is False


def tables_in(uri: str) -> bool:
    """Whether anything is there for others to see."""
    if uri.startswith("sqlite"):
        return Path(uri.removeprefix("sqlite:///")).exists()
    with psycopg.connect(uri.replace("+psycopg", "")) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    return found != (0,)


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_killed_at_any_moment(
    filled: Path, moved: str, empty: str, tmp_path: Path, direction: str, dump: Callable[[Path], Dump]
) -> None:
    """Each time a little later, until one is complete before it is killed."""
    uri, target = {
        "up": (f"sqlite:///{filled}", empty),
        "down": (moved, f"sqlite:///{tmp_path}/mlflow.db"),
    }[direction]
    before = dump(filled)
    pause, complete = 0.0, False
    while not complete:
        with armed(uri, target) as child:
            time.sleep(pause)
            child.kill()
        assert dump(filled) == before
        complete = tables_in(target)
        pause = pause * 1.3 + 0.3
    assert pause > 1, "nothing was killed"
    with Database(uri) as source:
        assert copy_database(source, target).changed is False
    left = {path.name for path in tmp_path.iterdir()} - {"filled.db"}
    assert left <= {"mlflow.db"}


@contextmanager
def armed(uri: str, target: str) -> Iterator[subprocess.Popen[bytes]]:
    """A copy in a process of its own, from where everything is imported."""
    command = [sys.executable, "-c", CHILD.format(arm="print('armed', flush=True)"), uri, target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
