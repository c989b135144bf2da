# SPDX-License-Identifier: Apache-2.0
"""MLflow's database: opening, reading, locking, and its artifact locations."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from mlflow_sftp.database.location_columns import LOCATION_COLUMNS, Key, LocationColumn
from mlflow_sftp.errors import DatabaseError

# A server that still writes holds its locks for milliseconds; longer means somebody sits on a transaction.
LOCK_TIMEOUT_S = 30
# A server that does not answer would be waited for as long as the network lets it.
CONNECT_TIMEOUT_S = 30
_TIMEOUT = "connect_timeout"
# The advisory lock of whoever replaces the schema; PostgreSQL's are numbers: "mlflow" in ASCII.
SCHEMA_LOCK = 0x6D6C666C6F77


# Those of the columns above and what relates them to experiments.
_TABLES = frozenset({column.table for column in LOCATION_COLUMNS} | {"alembic_version", "tags", "trace_info"})


class Database:
    """One MLflow database on SQLite or PostgreSQL; use as a context manager.

    `password` is for a URI that had better not hold it. An SQLite file must be there, unless `missing_ok`.
    """

    def __init__(self, uri: str, password: str | None = None, *, missing_ok: bool = False) -> None:
        self.url = _existing(parsed_uri(uri), missing_ok)
        if password is not None:
            self.url = self.url.set(password=password)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = _engine(self.url)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    @property
    def name(self) -> str:
        """The URI without its password, and without its query, which may hold one."""
        return database_name(self.url)

    @property
    def file(self) -> Path:
        """The file of an SQLite database, links resolved: its journals lie beside it."""
        return Path(str(self.url.database)).resolve()

    def size(self) -> int:
        """Bytes of the SQLite file, or what PostgreSQL says the database takes."""
        if self.is_sqlite:
            return self.file.stat().st_size
        with self.reading() as connection:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())

    def identity(self) -> str:
        """What is another one once a restore has replaced the database, whatever both hold."""
        if self.is_sqlite:
            file = self.file.stat()
            # An inode alone may be given to the next file but one.
            return f"{file.st_ino}:{file.st_size}:{file.st_mtime_ns}"
        with self.reading() as connection:
            query = "SELECT 'public.alembic_version'::regclass::oid"
            return str(connection.exec_driver_sql(query).scalar_one())

    @cached_property
    def tables(self) -> dict[str, sa.Table]:
        """The tables around locations; raises DatabaseError where this is not MLflow's database."""
        tables = self._reflect(_TABLES)
        if not {"alembic_version", "experiments", "runs", "model_versions"} <= set(tables):
            raise DatabaseError(f"{self.name} holds no MLflow tables", "check the database URI")
        return tables

    def all_tables(self) -> dict[str, sa.Table]:
        """Every table of the database, whoever made it."""
        return self._all_tables

    @cached_property
    def _all_tables(self) -> dict[str, sa.Table]:
        return self._reflect(None)

    def _reflect(self, names: frozenset[str] | None) -> dict[str, sa.Table]:
        metadata = sa.MetaData()
        with self.translate_errors("read the schema"):
            chosen = None if names is None else lambda name, _: name in names
            metadata.reflect(self._engine, only=chosen, resolve_fks=False)
        return dict(metadata.tables)

    def location_columns(self) -> list[LocationColumn]:
        """The location columns that this version's schema has."""
        return [c for c in LOCATION_COLUMNS if c.table in self.tables and c.column in self.tables[c.table].c]

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view of the database, without locking out writers."""
        with self.translate_errors("read"), self._engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
            connection.rollback()

    @contextlib.contextmanager
    def locked(self) -> Iterator[sa.Connection]:
        """One transaction with every writer of locations locked out; commits at the end, or nothing stays.

        The lock also waits for a transaction that a killed client left ending in the server, so that what is
        read under it is final.
        """
        tables = sorted({column.table for column in self.location_columns()})
        with self.translate_errors("lock and change the locations"), self._engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
                connection.exec_driver_sql(f"LOCK TABLE {self._quoted(tables)} IN SHARE ROW EXCLUSIVE MODE")
            yield connection
            connection.commit()

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """PostgreSQL: keep everybody else out who would replace the schema, here or on another host.

        Raises DatabaseError where somebody is at it already.
        """
        with contextlib.ExitStack() as held:
            with self.translate_errors("reserve the schema"):
                connection = held.enter_context(self._engine.connect())
                # In a transaction this would be a session that the schema's change waits for.
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                taken = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({SCHEMA_LOCK})").scalar_one()
            if not taken:
                raise DatabaseError(
                    f"{self.name}: another mlflow-sftp migrates or restores it now",
                    "wait until that has ended",
                )
            yield

    def lock_timeout(self) -> str:
        """PostgreSQL: the statement after which nothing waits longer for a lock than anything here does."""
        return f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'"

    @contextlib.contextmanager
    def sqlite_connection(self) -> Iterator[sqlite3.Connection]:
        """The driver's own connection to an SQLite database, for what SQLAlchemy has no word for."""
        with contextlib.closing(self._engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            yield driver

    @contextlib.contextmanager
    def frozen(self) -> Iterator[sa.Connection]:
        """One consistent view of the database, with the writers of every table locked out for as long."""
        tables = sorted(self.all_tables())
        with self.translate_errors("lock and read"), self._engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                self._without_timeouts(connection)
                connection.exec_driver_sql(f"LOCK TABLE {self._quoted(tables)} IN SHARE MODE")
            yield connection
            connection.rollback()

    @contextlib.contextmanager
    def changing(self, operation: str) -> Iterator[sa.Connection]:
        """One transaction on PostgreSQL that the caller commits, or nothing of it stays; `operation` is for errors."""
        with self.translate_errors(operation), self._engine.connect() as connection:
            self._without_timeouts(connection)
            yield connection

    def _without_timeouts(self, connection: sa.Connection) -> None:
        """Let a transaction take as long as it takes, whatever the server's settings, but for locks."""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def _quoted(self, tables: Iterable[str]) -> str:
        return ", ".join(map(self._engine.dialect.identifier_preparer.quote, tables))

    @contextlib.contextmanager
    def translate_errors(self, operation: str) -> Iterator[None]:
        """Turn what SQLAlchemy and SQLite raise into a DatabaseError that names the operation."""
        try:
            yield
        except UnicodeError as error:
            raise DatabaseError(
                f"{self.name!r}: cannot {operation}: the name is not UTF-8", "give the file another name"
            ) from error
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            seen, remedy = (
                f"{self.name}: cannot {operation}: {cause}",
                "check that it runs, and the database URI",
            )
            if "lock" in cause:
                seen += "; another program is writing to it"
                remedy = "stop the MLflow server and its clients first"
            raise DatabaseError(seen, remedy) from error


def parsed_uri(uri: str) -> sa.URL:
    """The URI of a database of a kind that is supported, whether it is there or not; DatabaseError for any other."""
    try:
        url = sa.make_url(uri)
    except (SQLAlchemyError, ValueError) as error:
        raise DatabaseError(
            "the database URI cannot be read",
            "write it as sqlite:////path/mlflow.db or postgresql+psycopg://...",
        ) from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseError(
            f"{url.get_backend_name()}: only SQLite and PostgreSQL databases are supported",
            "name one of these; MLflow's commands serve the others",
        )
    return url


def _existing(url: sa.URL, missing_ok: bool) -> sa.URL:
    if url.get_backend_name() == "sqlite" and not _is_file(url, missing_ok):
        # SQLite would create an empty database under a mistyped name.
        raise DatabaseError(f"{database_name(url)}: there is no such file", "check the database URI")
    return url


def _is_file(url: sa.URL, missing_ok: bool) -> bool:
    if not url.database:
        return False
    file = Path(url.database)
    # What SQLite reads as more than a path (":memory:", "file:x?mode=ro") is no file that is only missing.
    may_be_missing = missing_ok and not url.database.startswith((":", "file:")) and file.parent.is_dir()
    return file.is_file() or (may_be_missing and not file.exists())


def _engine(url: sa.URL) -> sa.Engine:
    try:
        if url.get_backend_name() != "sqlite":
            return sa.create_engine(with_connect_timeout(url), poolclass=sa.NullPool)
        # No implicit BEGIN of the driver's: it would come only before the first write, after our reads.
        arguments = {"timeout": LOCK_TIMEOUT_S, "isolation_level": None}
        return sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments)
    except (NoSuchModuleError, ImportError) as error:
        raise DatabaseError(
            f"{database_name(url)}: the database driver is not installed: {error}",
            "pip install 'psycopg[binary]'",
        ) from error


def with_connect_timeout(url: sa.URL) -> sa.URL:
    """The URL of a PostgreSQL database, with a limit for how long to wait for its server, if it has none."""
    return url if _TIMEOUT in url.query else url.update_query_dict({_TIMEOUT: str(CONNECT_TIMEOUT_S)})


def database_name(url: sa.URL) -> str:
    """The URI without its password, and without its query, which may hold one."""
    return url.set(query={}).render_as_string(hide_password=True)


def location_rows(
    database: Database, connection: sa.Connection, column: LocationColumn
) -> Iterator[tuple[Key, str]]:
    """Primary key and value of every row with a location, deleted runs and experiments included."""
    table = database.tables[column.table]
    keys = list(table.primary_key.columns)
    query = sa.select(*keys, table.c[column.column]).where(table.c[column.column].is_not(None))
    if column.tag_keys:
        query = query.where(table.c.key.in_(column.tag_keys))
    names = [key.name for key in keys]
    for row in connection.execute(query.order_by(*keys)):
        yield dict(zip(names, row[:-1], strict=True)), row[-1]
