# SPDX-License-Identifier: Apache-2.0
"""The tables that the installed MLflow makes in an empty database, by its own migrations."""

import contextlib
import logging
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import command
from mlflow.store.db.utils import _get_alembic_config, _initialize_tables
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from mlflow.version import VERSION

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import DatabaseError
from mlflow_sftp.operations import login_schema
from mlflow_sftp.operations.database_schema import schema

_LOGGERS = ("alembic", "mlflow.store.db.utils")


def require_current(database: Database) -> None:
    """Raise DatabaseError unless the tables are those of the installed MLflow, all of them and nothing half-made."""
    # Raises DatabaseError where this is not MLflow's.
    _ = database.tables
    found = schema(database)
    if found.state == "current":
        return
    if found.state == "broken":
        raise DatabaseError(
            f"{database.name} holds what a migration left that died: {', '.join(found.left_over)}",
            "restore the backup from before it, and migrate again",
        )
    raise DatabaseError(
        f"{database.name} is at revision {', '.join(found.database) or 'none'}, MLflow {found.mlflow} works with "
        f"{', '.join(found.heads)}",
        "bring an older one to it with mlflow-sftp migrate, or run the MLflow that it is of",
    )


def require_current_login(name: str, connection: sa.Connection) -> bool:
    """Return whether a database has the tables of MLflow's login; raises DatabaseError where they are of another."""
    if not login_schema.has_login(connection):
        return False
    there, here = login_schema.revisions(connection), login_schema.heads()
    if there != here:
        raise DatabaseError(
            f"the tables of the login in {name} are at revision {', '.join(there) or 'none'}, MLflow {VERSION} works "
            f"with {', '.join(here)}",
            "start the server of this MLflow once, which brings them to it, or run the MLflow that they are of",
        )
    return True


def make_in_transaction(connection: sa.Connection, *, login: bool) -> None:
    """Make the tables in the transaction of a connection to PostgreSQL, which stays open: all of it can go again.

    With `login`, those of MLflow's login as well. Raises DatabaseError where MLflow's migrations end the transaction
    on their own.
    """
    config = _get_alembic_config("")
    config.attributes["connection"] = _OneConnection(connection)
    before = _transaction(connection)
    with _quiet():
        InitialBase.metadata.create_all(connection)
        command.upgrade(config, "heads")
        if login:
            login_schema.make(connection)
    if _transaction(connection) != before:
        raise DatabaseError(
            f"MLflow {VERSION} makes its tables in more than one transaction, and they are there now",
            "empty the target; this version of mlflow-sftp does not know this one of MLflow",
        )


def make(engine: sa.Engine, *, login: bool) -> None:
    """Make the tables, with `login` those of MLflow's login as well, in as many transactions as MLflow likes."""
    with _quiet():
        _initialize_tables(engine)
        if login:
            with engine.begin() as connection:
                login_schema.make(connection)


class _OneConnection:
    """What MLflow's migrations take for an engine: whoever connects is given the connection that is there."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    @property
    def engine(self) -> "_OneConnection":
        return self

    @contextlib.contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        yield self._connection


def _transaction(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SELECT txid_current()").scalar_one())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the names of fifty migrations from standard error."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
