# SPDX-License-Identifier: Apache-2.0
"""MLflow's database given the content of a backup, whatever it holds now."""

import contextlib
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mlflow_sftp.database import postgresql_programs
from mlflow_sftp.database.database import Database
from mlflow_sftp.database.postgresql_objects import DROP_ALL
from mlflow_sftp.database.sqlite_file import (
    JOURNALS,
    replaced_database,
    require_space,
    writers_locked_out_of_what_is_left,
)
from mlflow_sftp.errors import BackupError, DatabaseError, StorageError

_MAGIC = {b"SQLite format 3\0": "SQLite", b"PGDMP": "PostgreSQL"}
_TABLES = frozenset({"alembic_version", "experiments", "runs", "model_versions"})
_REMEDY = "name a file that mlflow-sftp backup wrote"
_COPY_REVISION = "COPY public.alembic_version "
_ALL_DONE = "mlflow-sftp: all but the commit"
# As a list of an archive calls what gives others rights.
_RIGHTS = (["ACL", "public"], ["DEFAULT", "ACL", "public"])
# To psql, within a transaction: go on after a statement that fails, without that.
_EACH_FOR_ITSELF = "\\set ON_ERROR_STOP off\n\\set ON_ERROR_ROLLBACK on\n"
_ALL_OR_NOTHING = "\\set ON_ERROR_ROLLBACK off\n\\set ON_ERROR_STOP on\n"
# pg_restore 17 begins with it, and a server before 17 does not know it.
_NEWER_SETTING = b"SET transaction_timeout = 0;\n"


@dataclass(frozen=True)
class Restored:
    """The revision that the database is at now, as the backup was, and its size in bytes."""

    revision: str
    bytes: int


def restore(database: Database, backup: Path) -> Restored:
    """Give the database the content of what `back_up` wrote to the file `backup`.

    It may be missing (SQLite), empty, of another version, or beside the journal of a killed writer. SQLite: the file
    is replaced. PostgreSQL: in one transaction, what the user owns in the schema `public` goes and what the backup
    has there comes, with what others may do there, as far as this server knows them. Whatever stops it, the database
    is the old one or the backup's.

    Raises BackupError where the file is no whole backup of an MLflow database of this kind, DatabaseError where
    somebody uses the database, StorageError where it cannot be written. Where `unchanged` is set on what is raised,
    the database is the old one; otherwise nobody can tell.
    """
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    with _failures_marked(lambda: True):
        _require_kind(database, kind, backup)
    revision = (_restore_sqlite if database.is_sqlite else _restore_postgresql)(database, backup)
    return Restored(revision, database.size())


@contextlib.contextmanager
def _failures_marked(is_old: Callable[[], bool]) -> Iterator[None]:
    """Have what the block raises say that nothing was changed, where the database certainly is the old one."""
    try:
        yield
    except StorageError as error:
        error.unchanged = is_old()
        raise


def _require_kind(database: Database, kind: str, backup: Path) -> None:
    found = _kind(backup)
    if found != kind:
        raise BackupError(
            f"{backup} is {f'a backup of {found}' if found else 'no backup'}, and {database.name} is {kind}",
            _REMEDY,
        )


def _kind(backup: Path) -> str | None:
    try:
        with backup.open("rb") as file:
            start = file.read(max(map(len, _MAGIC)))
    except OSError as error:
        raise BackupError(f"{backup} cannot be read: {error.strerror}", _REMEDY) from error
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def _restore_sqlite(database: Database, backup: Path) -> str:
    before = _inode(database.file)
    # The new file is there beside the old one, so that it has another inode.
    with _failures_marked(lambda: _inode(database.file) == before):
        return _replace_file(database, backup)


def _inode(file: Path) -> int | None:
    """Return the inode of a file; None where there is none."""
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def _replace_file(database: Database, backup: Path) -> str:
    if database.file.exists() and backup.samefile(database.file):
        raise BackupError(f"{backup} is the database itself", _REMEDY)
    beside = [journal for suffix in JOURNALS[:2] if _holds(journal := Path(f"{backup}{suffix}"))]
    if beside:
        raise BackupError(f"{beside[0]} shows that {backup} is a database in use, and no backup", _REMEDY)
    require_space(database, backup.stat().st_size)
    with writers_locked_out_of_what_is_left(database), replaced_database(database) as temporary:
        shutil.copyfile(backup, temporary)
        # What is looked at is what will be there.
        return _require_whole(temporary, backup)


def _holds(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _require_whole(copy: Path, backup: Path) -> str:
    """Return the revision of an SQLite database that was copied from `backup`."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{copy.as_uri()}?mode=ro&immutable=1", uri=True)
        ) as connection:
            verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
            tables = {
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            revisions = []
            if "alembic_version" in tables:
                revisions = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        raise BackupError(f"{backup} is damaged, and nothing was changed: {verdict}", _REMEDY)
    return _require_mlflow(tables, revisions, backup)


def _require_mlflow(tables: set[str], revisions: list[str], backup: Path) -> str:
    if not tables >= _TABLES or len(revisions) != 1:
        raise BackupError(f"{backup} holds no MLflow database, and nothing was changed", _REMEDY)
    return revisions[0]


def _restore_postgresql(database: Database, backup: Path) -> str:
    with _failures_marked(lambda: True):
        for program in ("pg_restore", "psql"):
            if not postgresql_programs.is_installed(program):
                raise DatabaseError(
                    f"{database.name}: {program} is not installed here, and nothing was changed",
                    "install the PostgreSQL client",
                )
        revision = _require_whole_archive(backup)
        grants = _grants(backup)
    _replay(database, backup, grants)
    return revision


def _require_whole_archive(backup: Path) -> str:
    """Return the revision in an archive that can be read from its beginning to its end."""
    _read_archive(backup, "--file=/dev/null")
    listed = _read_archive(backup, "--list").splitlines()
    tables = {line.split()[5] for line in listed if " TABLE public " in line}
    said = _read_archive(backup, "--data-only", "--schema=public", "--table=alembic_version", "--file=-")
    lines = iter(said.splitlines())
    revisions = []
    if any(line.startswith(_COPY_REVISION) for line in lines):
        revisions = list(iter(lambda: next(lines, "\\."), "\\."))
    return _require_mlflow(tables, revisions, backup)


def _read_archive(backup: Path, *options: str) -> str:
    command = ["pg_restore", *options, str(backup)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise BackupError(
            f"{backup} cannot be read, and nothing was changed: {postgresql_programs.complaint(done.stderr)}",
            _REMEDY,
        )
    return done.stdout


def _replay(database: Database, backup: Path, grants: str) -> None:
    commits = False
    with _failures_marked(lambda: not commits), tempfile.TemporaryFile() as errors:
        with _psql(database, errors) as psql:
            assert psql.stdin is not None
            assert psql.stdout is not None
            with contextlib.suppress(BrokenPipeError), psql.stdin as script:
                script.write(f"BEGIN;\n{database.lock_timeout()};\n{DROP_ALL}".encode())
                _write_archive(backup, script)
                script.write(grants.encode())
                script.write(f"\\echo {_ALL_DONE}\n".encode())
                script.flush()
                # Without a commit the server undoes everything, and none waits in a pipe for when this is killed.
                if psql.stdout.readline().decode().strip() == _ALL_DONE:
                    commits = True
                    script.write(b"COMMIT;\n")
            code = psql.wait()
        errors.seek(0)
        said = postgresql_programs.complaint(errors.read().decode(errors="replace"))
        if code != 0 and commits:
            raise DatabaseError(
                f"{database.name}: the restore failed at its last step, and nobody knows whether it is done: {said}",
                "restore again",
            )
        if code != 0:
            raise _failure(database, said)


@contextlib.contextmanager
def _psql(database: Database, errors: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        "psql",
        "--no-psqlrc",
        "--no-password",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--output=/dev/null",
    ]
    process = subprocess.Popen(
        [*command, postgresql_programs.address(database)],
        env=postgresql_programs.environment(database),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
    )
    try:
        yield process
    finally:
        # Ended already, unless something failed here.
        process.kill()
        process.wait()


def _write_archive(backup: Path, script: IO[bytes]) -> None:
    command = ["pg_restore", "--schema=public", "--no-owner", "--no-acl", "--file=-", str(backup)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as archive:
        assert archive.stdout is not None
        for line in archive.stdout:
            if line != _NEWER_SETTING:
                script.write(line)
            if line.startswith((b"CREATE ", b"COPY ")):
                break
        shutil.copyfileobj(archive.stdout, script, 1 << 20)
        if archive.wait() != 0:
            raise BackupError(
                f"{backup} could be read once, and now cannot; nothing was changed", "try again"
            )


def _grants(backup: Path) -> str:
    """Return what gives others their rights, each for itself: this server may not have all of them."""
    listed = (line.split() for line in _read_archive(backup, "--list").splitlines())
    numbers = [words[0] for words in listed if any(words[3:][: len(rights)] == rights for rights in _RIGHTS)]
    if not numbers:
        return ""
    with tempfile.NamedTemporaryFile("w") as wanted:
        wanted.write("".join(f"{number}\n" for number in numbers))
        wanted.flush()
        statements = _read_archive(backup, "--no-owner", f"--use-list={wanted.name}", "--file=-")
    statements = statements.replace(_NEWER_SETTING.decode(), "")
    return f"{_EACH_FOR_ITSELF}{statements}{_ALL_OR_NOTHING}"


def _failure(database: Database, cause: str) -> DatabaseError:
    seen = f"{database.name}: the restore failed, and nothing was changed: "
    if "lock timeout" in cause:
        return DatabaseError(
            f"{seen}another program is using the database: {cause}",
            "stop the MLflow server and its clients first",
        )
    if "depend on it" in cause or "already exists" in cause:
        return DatabaseError(
            f"{seen}{cause}",
            "remove what others made in the schema public, or restore as the owner of it all",
        )
    return DatabaseError(f"{seen}{cause}", "check that the server runs, and the database URI")
