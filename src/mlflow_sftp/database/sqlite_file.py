# SPDX-License-Identifier: Apache-2.0
"""An SQLite file that is replaced as a whole: no writer beside it, and no journal of the old one for the new one."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mlflow_sftp.database.database import Database
from mlflow_sftp.database.durable_file import remove_leftovers, replaced_file, sync
from mlflow_sftp.errors import DatabaseError

JOURNALS = ("-journal", "-wal", "-shm")
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@contextlib.contextmanager
def writers_locked_out(database: Database) -> Iterator[str]:
    """Keep every writer out while the block runs, and yield the journal mode that the file had ("delete", "wal").

    What a killed writer left in a journal is brought to an end first. A connection that sits idle meanwhile cannot
    write to the old file afterwards: SQLite sees that the file was moved from under it.

    The block must not open and close the file other than through SQLite: that would drop the lock.

    Raises DatabaseError where a writer does not end in time, or another process replaced the file meanwhile.
    """
    before = database.file.stat().st_ino
    with contextlib.ExitStack() as held:
        with database.translate_errors("lock"):
            connection = held.enter_context(database.sqlite_connection())
            mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
            if mode == "wal":
                # Takes the log into the file, and is refused while anybody else has the database open.
                connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN IMMEDIATE")
        if database.file.stat().st_ino != before:
            raise DatabaseError(f"{database.name} was replaced by another program meanwhile", "try again")
        try:
            yield mode
        finally:
            connection.rollback()
            if mode == "wal" and database.file.stat().st_ino == before:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA journal_mode = WAL")


@contextlib.contextmanager
def writers_locked_out_of_what_is_left(database: Database) -> Iterator[None]:
    """As `writers_locked_out`, for a file that may be missing, or so damaged that SQLite cannot open it."""
    with contextlib.ExitStack() as held:
        if database.file.exists():
            try:
                held.enter_context(writers_locked_out(database))
            except DatabaseError as error:
                if not _tells_of_damage(error.__cause__):
                    raise
        yield


@contextlib.contextmanager
def replaced_database(database: Database) -> Iterator[Path]:
    """A temporary name beside the file that becomes the database when the block ends well; writers must be locked out.

    It gets owner and mode of what it replaces. The old journals go before the new file comes: none of them holds
    anything of the old one any more, and a kill in between leaves the old one whole.

    Raises StorageError where the file cannot be written.
    """
    file = database.file
    remove_leftovers(file)
    with replaced_file(file) as temporary:
        yield temporary
        _give_owner_and_mode(file, temporary)
        sync(temporary)
        for suffix in JOURNALS:
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        sync(file.parent)


def require_space(database: Database, needed: int) -> None:
    """Raise DatabaseError where less than `needed` bytes are free beside the database's file."""
    free = shutil.disk_usage(database.file.parent).free
    if free < needed:
        raise DatabaseError(
            f"{database.name}: {needed / 2**20:.0f} MiB are needed beside it, {free / 2**20:.0f} MiB are free, "
            "and nothing was changed",
            f"free space in {database.file.parent}",
        )


def _give_owner_and_mode(file: Path, temporary: Path) -> None:
    # A file that is new belongs to whom its directory belongs to.
    there = file.exists()
    model = file.stat() if there else file.parent.stat()
    own = temporary.stat()
    if (own.st_uid, own.st_gid) != (model.st_uid, model.st_gid):
        _give_owner(file, temporary, model.st_uid, model.st_gid)
    if there:
        temporary.chmod(model.st_mode & 0o7777)


def _give_owner(file: Path, temporary: Path, uid: int, gid: int) -> None:
    try:
        os.chown(temporary, uid, gid)
    except PermissionError as error:
        raise DatabaseError(
            f"{file}: uid {os.geteuid()} cannot give the new file to the old one's owner ({uid}:{gid}), "
            "and nothing was changed",
            "run this as that owner or as root",
        ) from error


def _tells_of_damage(cause: BaseException | None) -> bool:
    # The lower byte of an extended code is the code that it extends.
    return isinstance(cause, sqlite3.Error) and (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED
