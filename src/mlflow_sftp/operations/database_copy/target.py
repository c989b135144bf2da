# SPDX-License-Identifier: Apache-2.0
"""The database that is copied to: empty before, complete after, and nothing in between for anybody to see."""

import contextlib
import fcntl
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from mlflow_sftp.database.database import Database, database_name, parsed_uri
from mlflow_sftp.database.durable_file import sync
from mlflow_sftp.errors import DatabaseError, StorageError
from mlflow_sftp.operations.database_copy import schema
from mlflow_sftp.operations.database_copy.tables import circular_keys, further_objects, in_order, reflected

# Of this package, for "one copy at a time" (PostgreSQL's advisory locks are numbers).
_LOCK = 0x6D6C666C6F77
_BESIDE = ("-journal", "-wal", "-shm")


@dataclass(frozen=True)
class NewDatabase:
    """MLflow's empty tables, which nobody else sees until `keep` is called."""

    connection: sa.Connection
    keep: Callable[[], None]


class Target(ABC):
    """Where a copy shall be."""

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self.name = database_name(url)

    @abstractmethod
    def database(self) -> Database | None:
        """What is there now; None where nothing is."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """The space that is free for it; None where that cannot be known from here."""

    @abstractmethod
    def new(self, *, login: bool) -> contextlib.AbstractContextManager[NewDatabase]:
        """MLflow's tables, with `login` those of its login as well.

        Whatever stops the program before `keep` is done, the target is as before.
        """


def remove_unfinished(file: Path) -> None:
    """Remove what a killed copy to a file of SQLite's left beside it, as large as the copy was.

    Raises DatabaseError where a copy is at work, OSError where it cannot be removed.
    """
    temporary = _temporary_of(file)
    if temporary.exists():
        with temporary.open("rb+", buffering=0) as held:
            _lock(held.fileno(), temporary)
            temporary.unlink()
        for suffix in _BESIDE:
            temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def _temporary_of(file: Path) -> Path:
    # One name, under which the next call finds what a killed one left.
    return file.with_name(f".{file.name}.copy-database.tmp")


def target_of(uri: str) -> Target:
    """The target that a URI names; DatabaseError where it cannot be one."""
    url = parsed_uri(uri)
    return _SqliteTarget(url) if url.get_backend_name() == "sqlite" else _PostgresqlTarget(url)


class _PostgresqlTarget(Target):
    def __init__(self, url: sa.URL) -> None:
        super().__init__(url)
        if url.get_driver_name() != "psycopg":
            raise DatabaseError(
                f"{self.name}: rows are copied with the driver psycopg, this URI asks for {url.get_driver_name()}",
                "write it as postgresql+psycopg://...",
            )

    def database(self) -> Database:
        return Database(self._uri)

    def free_bytes(self) -> None:
        return None

    @property
    def _uri(self) -> str:
        return self.url.render_as_string(hide_password=False)

    @contextlib.contextmanager
    def new(self, *, login: bool) -> Iterator[NewDatabase]:
        with self.database() as database, database.changing("copy MLflow's rows into it") as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            _require_unicode(self.name, connection)
            _require_no_tables(self.name, connection)
            schema.make_in_transaction(connection, login=login)
            tables = reflected(connection)
            _empty(connection, tables)
            defer_circular_keys(connection, tables.values())
            yield NewDatabase(connection, lambda: _keep(connection, tables))


def _keep(connection: sa.Connection, tables: dict[str, sa.Table]) -> None:
    require_circular_keys(connection, tables.values())
    _set_sequences(connection, tables)
    quote = connection.dialect.identifier_preparer.quote
    connection.exec_driver_sql(f"ANALYZE {', '.join(map(quote, tables))}")
    connection.commit()


class _SqliteTarget(Target):
    def __init__(self, url: sa.URL) -> None:
        super().__init__(url)
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise DatabaseError(f"{self.name} names no file", "write it as sqlite:////path/mlflow.db")
        # A link stays one, and what it leads to is replaced.
        self._path = Path(os.path.realpath(url.database))
        self._temporary = _temporary_of(self._path)

    def database(self) -> Database | None:
        if not self._path.exists():
            return None
        return Database(str(sa.URL.create("sqlite", database=str(self._path))))

    def free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError as error:
            raise self._unwritable(error) from error

    @contextlib.contextmanager
    def new(self, *, login: bool) -> Iterator[NewDatabase]:
        self._require_nothing_beside()
        try:
            with self._held_temporary():
                yield from self._new(login)
        except OSError as error:
            raise self._unwritable(error) from error

    def _new(self, login: bool) -> Iterator[NewDatabase]:
        engine = _engine(self._temporary)
        with Database(str(engine.url)) as database, database.translate_errors("copy MLflow's rows into it"):
            schema.make(engine, login=login)
            with engine.connect() as connection:
                _empty(connection, reflected(connection))
                yield NewDatabase(connection, lambda: self._keep(connection))

    def _keep(self, connection: sa.Connection) -> None:
        connection.commit()
        _require_sound(self.name, connection)
        connection.close()
        sync(self._temporary)
        self._temporary.replace(self._path)
        sync(self._path.parent)

    def _require_nothing_beside(self) -> None:
        """A journal of another database would be played into the new one."""
        for suffix in _BESIDE:
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                raise DatabaseError(
                    f"{beside} is there, which belongs to a database that was at {self._path}",
                    "move it aside with that database, or name another file",
                )

    @contextlib.contextmanager
    def _held_temporary(self) -> Iterator[None]:
        descriptor = os.open(self._temporary, os.O_CREAT | os.O_RDWR, 0o600)
        with contextlib.closing(os.fdopen(descriptor, "rb+", buffering=0)):
            _lock(descriptor, self._temporary)
            try:
                os.ftruncate(descriptor, 0)
                self._as_the_empty_one(descriptor)
                yield
            finally:
                # Once it is complete, it has another name.
                self._temporary.unlink(missing_ok=True)

    def _as_the_empty_one(self, descriptor: int) -> None:
        """Give the new file owner and mode of an empty one that stands there: somebody made it for MLflow."""
        if not self._path.exists():
            return
        there = self._path.stat()
        os.fchmod(descriptor, there.st_mode & 0o777)
        if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, there.st_uid, there.st_gid)

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._path} cannot be written: {error.strerror}",
            "name a file in a directory that is there and that this user may write to",
        )


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DatabaseError(
            f"{path} is being written by another copy-database", "wait until that one has ended"
        ) from error
    if not _is_open(descriptor, path):
        raise DatabaseError(f"{path}: another copy-database has just ended", "call again")


def _is_open(descriptor: int, path: Path) -> bool:
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def _engine(path: Path) -> sa.Engine:
    """An engine for a file that nobody needs before it is complete: neither journal nor sync on the way."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), poolclass=sa.NullPool)

    @sa.event.listens_for(engine, "connect")
    def _hurry(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=MEMORY")

    return engine


def _require_unicode(name: str, connection: sa.Connection) -> None:
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise DatabaseError(
            f"{name} keeps text as {encoding}, MLflow's may hold any character",
            "create the database with ENCODING 'UTF8'",
        )


def _require_no_tables(name: str, connection: sa.Connection) -> None:
    if tables := sorted(sa.inspect(connection).get_table_names()):
        raise not_empty(name, tables, "somebody made them just now")
    require_nothing_further(name, connection)


def require_nothing_further(name: str, connection: sa.Connection) -> None:
    """Raise DatabaseError where a database without tables holds something else: somebody has a use for it."""
    if objects := further_objects(connection):
        some = ", ".join(objects[:3]) + (", ..." if len(objects) > 3 else "")
        raise DatabaseError(
            f"{name} is not empty: {len(objects)} objects besides tables ({some})",
            "name an empty database; nothing was changed",
        )


def not_empty(name: str, tables: list[str], difference: str) -> DatabaseError:
    """The error for a target that holds something else than the copy; `difference` is the first one seen."""
    some = ", ".join(tables[:3]) + (", ..." if len(tables) > 3 else "")
    return DatabaseError(
        f"{name} is not empty and no copy of the source: {len(tables)} tables ({some}); {difference}",
        "name an empty database; nothing was changed",
    )


def _require_sound(name: str, connection: sa.Connection) -> None:
    verdict = connection.exec_driver_sql("PRAGMA quick_check").scalar_one()
    orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if verdict != "ok" or orphan is not None:
        seen = verdict if orphan is None else f"a row of {orphan[0]} refers to none of {orphan[2]}"
        raise DatabaseError(f"{name}: the copy fails SQLite's checks: {seen}", "nothing of it stays")


def _empty(connection: sa.Connection, tables: dict[str, sa.Table]) -> None:
    """Remove the rows that MLflow's migrations write: the source has its own."""
    for table in reversed(in_order(tables.values())):
        connection.execute(sa.delete(table))


def defer_circular_keys(connection: sa.Connection, tables: Collection[sa.Table]) -> None:
    """Have foreign keys that no order of tables satisfies looked at by `require_circular_keys` alone."""
    for key in _circular_constraints(connection, tables):
        connection.exec_driver_sql(f"{key} DEFERRABLE INITIALLY DEFERRED")


def require_circular_keys(connection: sa.Connection, tables: Collection[sa.Table]) -> None:
    """Look at those keys now, and let them be as MLflow made them."""
    connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    for key in _circular_constraints(connection, tables):
        connection.exec_driver_sql(f"{key} NOT DEFERRABLE")


def _circular_constraints(connection: sa.Connection, tables: Collection[sa.Table]) -> Iterator[str]:
    quote = connection.dialect.identifier_preparer.quote
    for table, name in circular_keys(tables):
        yield f"ALTER TABLE {quote(table)} ALTER CONSTRAINT {quote(name)}"


def _set_sequences(connection: sa.Connection, tables: dict[str, sa.Table]) -> None:
    """Let PostgreSQL number on after the highest number of each table."""
    quote = connection.dialect.identifier_preparer.quote
    sequence = sa.text("SELECT pg_get_serial_sequence(:table, :column)")
    for table in tables.values():
        for column in table.primary_key.columns:
            if not isinstance(column.type, sa.Integer):
                continue
            named = connection.execute(sequence, {"table": quote(table.name), "column": column.name}).scalar()
            highest = connection.scalar(sa.select(sa.func.max(column)))
            if named and highest:
                connection.execute(sa.select(sa.func.setval(named, highest)))
