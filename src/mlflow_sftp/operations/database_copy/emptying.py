# SPDX-License-Identifier: Apache-2.0
"""The way back of a copy: a database without anything that MLflow has made."""

import tempfile
from pathlib import Path

import sqlalchemy as sa

from mlflow_sftp.database.database import Database
from mlflow_sftp.database.durable_file import remove_leftovers, sync
from mlflow_sftp.database.postgresql_objects import DROP_ALL
from mlflow_sftp.database.sqlite_file import JOURNALS, writers_locked_out_of_what_is_left
from mlflow_sftp.errors import DatabaseError, StorageError
from mlflow_sftp.operations.database_copy import schema
from mlflow_sftp.operations.database_schema import look


def empty_database(database: Database) -> int:
    """Remove MLflow's tables and return how many there were: PostgreSQL's in one transaction, SQLite's with the file.

    A database that is empty already, or a file that is missing, is left as it is.

    Raises DatabaseError where it holds tables that are not MLflow's, or somebody uses it; StorageError where the file
    cannot be removed. Nothing was changed then.
    """
    tables = look(database).tables
    if tables:
        _require_no_others(database, tables)
        (_remove_file if database.is_sqlite else _drop_tables)(database)
    return len(tables)


def _require_no_others(database: Database, tables: frozenset[str]) -> None:
    others = sorted(tables - _tables_of_mlflow())
    if others:
        raise DatabaseError(
            f"{database.name} holds tables that the installed MLflow does not make: {', '.join(others)}",
            "nothing was changed; move them elsewhere, or remove by hand what is not needed",
        )


def _tables_of_mlflow() -> frozenset[str]:
    with tempfile.TemporaryDirectory(prefix="mlflow-sftp-schema-") as directory:
        engine = sa.create_engine(f"sqlite:///{Path(directory) / 'pristine.db'}", poolclass=sa.NullPool)
        schema.make(engine)
        return frozenset(sa.inspect(engine).get_table_names())


def _drop_tables(database: Database) -> None:
    with database.changing("remove MLflow's tables") as connection:
        connection.exec_driver_sql(DROP_ALL, execution_options={"no_parameters": True})
        connection.commit()


def _remove_file(database: Database) -> None:
    file = database.file
    try:
        with writers_locked_out_of_what_is_left(database):
            # Without a journal of its own, and before one of a new database has the name.
            for suffix in JOURNALS:
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            file.unlink()
        remove_leftovers(file)
        sync(file.parent)
    except OSError as error:
        raise StorageError(
            f"{file} cannot be removed: {error.strerror}", "run this as a user who may write to its directory"
        ) from error
