# SPDX-License-Identifier: Apache-2.0
"""MLflow's database brought to the schema of the MLflow that is installed, or left as it is."""

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from mlflow.store.db import utils as mlflow_database
from mlflow.store.db.base_sql_model import Base

from mlflow_sftp.database.database import Database, with_connect_timeout
from mlflow_sftp.database.sqlite_file import replaced_database, require_space, writers_locked_out
from mlflow_sftp.errors import DatabaseError
from mlflow_sftp.operations.database_schema import Schema, look, schema

# The copy, and as much again for tables that are rebuilt in it and for their journal.
_SPACE = 3

# Rows that refer to nothing, by their table and the one that they refer to.
_Violations = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Migration:
    """From which revision to which, in how many seconds; `bytes` is the size of the database afterwards."""

    before: str
    after: str
    seconds: float
    bytes: int

    def as_dict(self) -> dict[str, object]:
        """As JSON."""
        return {"from": self.before, "to": self.after, "seconds": self.seconds, "bytes": self.bytes}


def migrate(database: Database) -> Migration:
    """Bring a database that is behind to the head of the installed MLflow; one that is current stays as it is.

    SQLite: a copy is migrated, proved and put in place, since MLflow's migrations commit piecemeal there. PostgreSQL:
    in place, in the one transaction that MLflow's env.py opens around all of them (`run_migrations_online`).
    Whatever stops it, the database is the old one or the new one.

    Raises DatabaseError where the database is in another state, where somebody writes to it or migrates it, where
    there is too little space, or where the migration fails or ends with something else than it should.
    """
    started = time.monotonic()
    found = schema(database)
    if found.state != "current":
        _require_behind(database, found)
        migrate_to_head = _migrate_copy if database.is_sqlite else _migrate_in_place
        migrate_to_head(database, found)
    return Migration(found.database[0], found.heads[0], round(time.monotonic() - started, 3), database.size())


def _require_behind(database: Database, found: Schema) -> None:
    name, there = database.name, ", ".join(found.database)
    match found.state:
        case "empty":
            seen = f"{name} holds no tables, so there is nothing to migrate"
            remedy = "check the database URI; MLflow's server makes its tables itself when it first starts"
        case "unknown":
            seen = f"{name} is at revision {there or 'none'}, which MLflow {found.mlflow} does not know"
            remedy = "use an MLflow at least as new as the one that made it, or restore a backup"
        case "several":
            seen = (
                f"{name} has the revisions {there or 'none'}, MLflow {found.mlflow} {', '.join(found.heads)}"
            )
            remedy = "one is needed on either side; restore a backup, or use another MLflow"
        case "broken":
            seen = f"{name} holds tables of a migration that died: {', '.join(found.left_over)}"
            remedy = "restore the backup from before that migration (mlflow-sftp restore)"
        case _:
            return
    raise DatabaseError(seen, remedy)


def _migrate_in_place(database: Database, found: Schema) -> None:
    with database.reserved():
        _require_unchanged(database, found)
        engine = _engine(with_connect_timeout(database.url), database.lock_timeout())
        quote = engine.dialect.identifier_preparer.quote
        own = look(database).tables & set(Base.metadata.tables)
        tables = ", ".join(quote(table) for table in sorted(own))

        def lock_writers_out(connection: sa.Connection, *_: object) -> None:
            connection.exec_driver_sql(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")

        # The first statement of MLflow's own transaction; tables that it leaves alone would stay open to writers.
        sa.event.listen(engine, "before_cursor_execute", lock_writers_out, once=True)
        _upgrade(database, engine, found)
    _require_head(database.name, schema(database).database, found)


def _migrate_copy(database: Database, found: Schema) -> None:
    require_space(database, _SPACE * database.size())
    with writers_locked_out(database) as mode:
        _require_unchanged(database, found)
        with replaced_database(database) as temporary:
            before = _copy(database, temporary)
            # A copy that is thrown away after a power cut need not be on the disk before it is whole.
            url = sa.URL.create("sqlite", database=str(temporary))
            _upgrade(database, _engine(url, "PRAGMA synchronous = OFF"), found)
            with database.translate_errors("prove the migrated copy of"):
                _prove(database, temporary, before, found)
                if mode == "wal":
                    with _open(temporary) as copy:
                        copy.execute("PRAGMA journal_mode = WAL")


def _require_unchanged(database: Database, found: Schema) -> None:
    if schema(database) != found:
        raise DatabaseError(
            f"{database.name} was migrated by another program meanwhile", "look at its schema again"
        )


def _copy(database: Database, temporary: Path) -> _Violations:
    """Copy the database and return the violations that it has already."""
    with (
        database.translate_errors("copy"),
        database.sqlite_connection() as source,
        _open(temporary) as copy,
    ):
        source.backup(copy)
        return _violations(copy)


def _engine(url: sa.URL, prelude: str) -> sa.Engine:
    """The engine that MLflow would have, with connections that begin with the statement `prelude`."""
    uri = url.render_as_string(hide_password=False)
    engine: sa.Engine = mlflow_database.create_sqlalchemy_engine(uri)

    def prepare(connection: Any, _: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(prelude)
        connection.commit()

    sa.event.listen(engine, "connect", prepare)
    return engine


def _upgrade(database: Database, engine: sa.Engine, found: Schema) -> None:
    """Run MLflow's own migrations."""
    try:
        mlflow_database._upgrade_db(engine)
    except Exception as error:
        # A migration raises what it likes.
        raise _failure(database, found, error) from error
    finally:
        engine.dispose()


def _failure(database: Database, found: Schema, error: Exception) -> DatabaseError:
    cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    seen = f"{database.name}: the migration to {found.heads[0]} failed, and nothing was changed: "
    if "lock timeout" in cause:
        return DatabaseError(
            f"{seen}another program is using the database: {cause}",
            "stop the MLflow server and its clients first",
        )
    return DatabaseError(
        f"{seen}{type(error).__name__}: {cause}",
        "use the MLflow that made the database until that is mended; MLflow's issues may know more",
    )


def _prove(database: Database, temporary: Path, before: _Violations, found: Schema) -> None:
    with _open(temporary) as copy:
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        added = _violations(copy) - before
        revisions = tuple(row[0] for row in copy.execute("SELECT version_num FROM alembic_version"))
    if verdict != "ok":
        raise DatabaseError(
            f"{database.name}: the migrated copy fails SQLite's integrity_check, and nothing was changed: {verdict}",
            "restore a backup that is whole",
        )
    if added:
        (table, parent), count = added.most_common(1)[0]
        raise DatabaseError(
            f"{database.name}: in the migrated copy {count} rows of {table} refer to rows of {parent} that are not "
            "there, and nothing was changed",
            "remove such rows",
        )
    _require_head(database.name, revisions, found)


def _require_head(name: str, revisions: tuple[str, ...], found: Schema) -> None:
    if revisions != found.heads:
        raise DatabaseError(
            f"{name}: after the migration the revision is {', '.join(revisions) or 'none'}, not {found.heads[0]}",
            "restore the backup",
        )


def _violations(connection: sqlite3.Connection) -> _Violations:
    rows = connection.execute("PRAGMA foreign_key_check")
    return Counter((table, parent) for table, _, parent, _ in rows)


@contextlib.contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection
