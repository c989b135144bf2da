"""A migration and a restore killed with SIGKILL: the old database or the new one, with every row; no leftover stays."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_backup import back_up
from mlflow_sftp.operations.database_migration import migrate
from mlflow_sftp.operations.database_restore import restore
from tests.integration.schema.conftest import NEW, OLD, Older
from tests.support.older_database import beside, leave_journal

# Imports once, and forks for each job: what is killed does nothing but its work. The product has no switches for this.
CHILD = """
import json, os, signal, sys, time, traceback
from pathlib import Path
from mlflow_sftp.database import durable_file, sqlite_file
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations import database_migration, database_restore
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def work(job):
    exec(job["arm"], globals())
    with Database(job["uri"]) as database:
        if job["backup"]:
            database_restore.restore(database, Path(job["backup"]))
        else:
            database_migration.migrate(database)
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        try:
            work(job)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    started = time.monotonic()
    if job["seconds"] is not None:
        time.sleep(job["seconds"])
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, time.monotonic() - started]), flush=True)
"""

# Where the process dies, as code that arms it, and which revision is there then.
POINTS = {
    "in the copy": ("database_migration._upgrade = die", OLD),
    "before the proof": ("database_migration._prove = die", OLD),
    "before the journals go": ("sqlite_file._give_owner_and_mode = die", OLD),
    "between journals and file": (
        "sync = sqlite_file.sync\nsqlite_file.sync = lambda p: die() if p.is_dir() else sync(p)",
        OLD,
    ),
    "once the file is in place": (
        "replace = Path.replace\nPath.replace = lambda a, b: (replace(a, b), die())",
        NEW,
    ),
}


class Worker:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def __call__(
        self, uri: str, *, backup: Path | None = None, seconds: float | None = None, arm: str = ""
    ) -> tuple[int, float]:
        """Do the work and die, after `seconds` or where `arm` says; return the exit code and the seconds it took."""
        job = {"uri": uri, "backup": backup and str(backup), "seconds": seconds, "arm": arm}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        code, took = json.loads(self._line())
        return code, took

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.close()


def kills() -> int:
    """How many times to kill at random; more when asked for."""
    return int(os.environ.get("MLFLOW_KILLS", "8"))


@pytest.mark.parametrize("point", POINTS)
def test_a_migration_of_sqlite_killed_at_a_point(sqlite_older: Older, point: str, worker: Worker) -> None:
    arm, revision = POINTS[point]
    code, _ = worker(sqlite_older.uri, arm=arm)
    assert code == -signal.SIGKILL
    assert sqlite_older.holds(revision)
    finish(sqlite_older)


@pytest.mark.parametrize(
    "point", ["before the journals go", "between journals and file", "once the file is in place"]
)
def test_a_restore_killed_beside_the_journal_of_a_killed_writer(
    sqlite_older: Older, point: str, worker: Worker, tmp_path: Path
) -> None:
    file, backup = Path(str(sqlite_older.file)), tmp_path / "backup"
    with Database(sqlite_older.uri) as database:
        back_up(database, backup)
        migrate(database)
    leave_journal(file)
    arm, revision = POINTS[point]
    assert worker(sqlite_older.uri, backup=backup, arm=arm)[0] == -signal.SIGKILL
    # As above, with the old schema in the backup.
    assert sqlite_older.holds(NEW if revision == OLD else OLD)


def test_migrations_of_sqlite_killed_at_random(sqlite_older: Older, worker: Worker, tmp_path: Path) -> None:
    kill_at_random(sqlite_older, worker, tmp_path / "backup")


def test_migrations_of_postgresql_killed_at_random(
    postgres_older: Older, worker: Worker, tmp_path: Path
) -> None:
    kill_at_random(postgres_older, worker, tmp_path / "backup")


def test_restores_of_sqlite_killed_at_random(sqlite_older: Older, worker: Worker, tmp_path: Path) -> None:
    restore_and_kill_at_random(sqlite_older, worker, tmp_path / "backup")


def test_restores_of_postgresql_killed_at_random(
    postgres_older: Older, worker: Worker, tmp_path: Path
) -> None:
    restore_and_kill_at_random(postgres_older, worker, tmp_path / "backup")


def kill_at_random(older: Older, worker: Worker, backup: Path) -> None:
    with Database(older.uri) as database:
        back_up(database, backup)
        took = worker(older.uri)[1]
        restore(database, backup)
        for _ in range(kills()):
            worker(older.uri, seconds=random.uniform(0, took * 1.1))
            if there(older) == NEW:
                restore(database, backup)
    finish(older)


def restore_and_kill_at_random(older: Older, worker: Worker, backup: Path) -> None:
    with Database(older.uri) as database:
        back_up(database, backup)
        migrate(database)
        took = worker(older.uri, backup=backup)[1]
        migrate(database)
        for _ in range(kills()):
            worker(older.uri, backup=backup, seconds=random.uniform(0, took * 1.1))
            if there(older) == OLD:
                migrate(database)
        restore(database, backup)
    assert older.holds(OLD)
    if older.file is not None:
        assert beside(older.file) == []


def there(older: Older) -> str:
    revision = next((each for each in (OLD, NEW) if older.holds(each)), "")
    assert revision, "neither the old database nor the new one"
    return revision


def finish(older: Older) -> None:
    """The next migration gets through, and clears away what the killed one left."""
    with Database(older.uri) as database:
        migrate(database)
    assert older.holds(NEW)
    if older.file is not None:
        assert beside(older.file) == []
