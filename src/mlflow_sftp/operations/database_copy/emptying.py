# SPDX-License-Identifier: Apache-2.0
"""The way back of a copy: a database without anything that MLflow has made."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from mlflow_sftp.database.database import SCHEMA_LOCK, Database
from mlflow_sftp.database.durable_file import remove_leftovers, sync
from mlflow_sftp.database.postgresql_objects import SESSIONS, TRIGGER_ROUTINES
from mlflow_sftp.database.sqlite_file import JOURNALS, writers_locked_out_of_what_is_left
from mlflow_sftp.errors import DatabaseError, StorageError
from mlflow_sftp.operations.database_copy import schema
from mlflow_sftp.operations.database_copy.tables import further_objects
from mlflow_sftp.operations.database_copy.target import remove_unfinished
from mlflow_sftp.operations.database_schema import look
from mlflow_sftp.operations.login_schema import REVISION_TABLE

# How often, and after how many seconds, it is looked whether whoever is connected has left.
_LOOKS, _LOOK_SECONDS = 10, 0.3


@dataclass(frozen=True)
class Emptied:
    """How many tables of MLflow's there were, and what else there is, which stays: views and so on."""

    tables: int
    others: list[str] = field(default_factory=list)


def empty_database(database: Database, *, check: bool = False, unused: bool = False) -> Emptied:
    """Remove MLflow's tables, PostgreSQL's in one transaction, SQLite's with the file; with `check`, only look.

    With `unused`, nobody else may be connected to PostgreSQL's, not even without a transaction.

    PostgreSQL's are those of the schema to which tables without a schema go, as a copy does. A database that is empty
    already, or a file that is missing, is left as it is; what a killed copy left beside a file goes.

    Raises DatabaseError where it holds tables that are not MLflow's, or somebody uses it; StorageError where the file
    cannot be removed. Nothing was changed then.
    """
    if database.is_sqlite and not check:
        with _removing(database.file):
            remove_unfinished(database.file)
    tables = look(database).tables
    if tables and unused and not database.is_sqlite:
        _require_nobody(database)
    if tables:
        _require_no_others(database, tables, _further(database) if database.is_sqlite else [])
        if not check:
            _remove_file(database) if database.is_sqlite else _drop_tables(database, tables)
    return Emptied(len(tables), _further(database))


def _further(database: Database) -> list[str]:
    if database.is_sqlite and not database.file.exists():
        return []
    with database.reading() as connection:
        return further_objects(connection)


def _require_no_others(database: Database, tables: frozenset[str], further: list[str]) -> None:
    # Without the login, a table "users" is somebody else's.
    others = sorted(tables - _tables_of_mlflow(login=REVISION_TABLE in tables)) + further
    if others:
        raise DatabaseError(
            f"{database.name} holds what the installed MLflow does not make: {', '.join(others)}",
            "nothing was changed; move it elsewhere, or remove by hand what is not needed",
        )


def _require_nobody(database: Database) -> None:
    others: list[str] = []
    for _ in range(_LOOKS):
        # A session that has just ended is seen for a moment.
        with database.reading() as connection:
            others = sorted(connection.exec_driver_sql(SESSIONS).scalars())
        if not others:
            return
        time.sleep(_LOOK_SECONDS)
    raise DatabaseError(
        f"{database.name} is in use: {', '.join(others)} is connected to it",
        "nothing was changed; see who that is, and end what needs it no more",
    )


def _tables_of_mlflow(*, login: bool) -> frozenset[str]:
    with tempfile.TemporaryDirectory(prefix="mlflow-sftp-schema-") as directory:
        engine = sa.create_engine(f"sqlite:///{Path(directory) / 'pristine.db'}", poolclass=sa.NullPool)
        schema.make(engine, login=login)
        return frozenset(sa.inspect(engine).get_table_names())


def _drop_tables(database: Database, tables: frozenset[str]) -> None:
    with database.changing("remove MLflow's tables") as connection:
        if not connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({SCHEMA_LOCK})").scalar_one():
            raise DatabaseError(
                f"{database.name}: another mlflow-sftp migrates or restores it now",
                "wait until that has ended",
            )
        here = str(connection.exec_driver_sql("SELECT current_schema()").scalar_one())
        quote = connection.dialect.identifier_preparer.quote
        names = sorted(tables & set(sa.inspect(connection).get_table_names(here)))
        if names:
            routines = list(connection.exec_driver_sql(TRIGGER_ROUTINES, (names,)).scalars())
            # What somebody else's object depends on is an error.
            listed = ", ".join(f"{quote(here)}.{quote(name)}" for name in names)
            connection.exec_driver_sql(f"DROP TABLE {listed}")
            for routine in routines:
                connection.exec_driver_sql(f"DROP FUNCTION {routine}")
        _require_none_left(database, connection, here)
        connection.commit()


def _require_none_left(database: Database, connection: sa.Connection, here: str) -> None:
    left = sorted(sa.inspect(connection).get_table_names())
    if left:
        raise DatabaseError(
            f"{database.name} holds tables outside the schema {here} as well, such as {left[0]}",
            "nothing was changed; see whose they are, and let the URI's search_path name the one schema that is meant",
        )


def _remove_file(database: Database) -> None:
    file = database.file
    with _removing(file):
        with writers_locked_out_of_what_is_left(database):
            # Without a journal of its own, and before one of a new database has the name.
            for suffix in JOURNALS:
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            file.unlink()
        remove_leftovers(file)
        sync(file.parent)


@contextlib.contextmanager
def _removing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{file} cannot be removed: {error.strerror}", "run this as a user who may write to its directory"
        ) from error
