# SPDX-License-Identifier: Apache-2.0
"""Which schema MLflow's database has, and whether it is the one that the installed MLflow works with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import mlflow
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from mlflow.version import VERSION

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import DatabaseError, MissingPackageError
from mlflow_sftp.operations import login_schema

State = Literal["empty", "current", "behind", "unknown", "several", "broken"]
# Alembic builds a changed SQLite table under such a name, and renames it at the end.
_LEFT_OVER = "_alembic_tmp_"
_REVISION_TABLE = "alembic_version"
# Every MLflow since 0.8 has it.
_MLFLOW_TABLE = "experiments"


@dataclass(frozen=True)
class History:
    """The revisions that an MLflow knows, each with those that it follows."""

    mlflow: str
    parents: Mapping[str, tuple[str, ...]]

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The newest revisions: those that none follows."""
        followed = {parent for parents in self.parents.values() for parent in parents}
        return tuple(sorted(set(self.parents) - followed))

    def steps(self, revision: str, head: str) -> int:
        """How many revisions a database at `revision` is behind `head`."""
        return len(self._lineage(head) - self._lineage(revision))

    def _lineage(self, revision: str) -> set[str]:
        found: set[str] = set()
        waiting = [revision]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting.extend(self.parents[each])
        return found


@dataclass(frozen=True)
class Seen:
    """What a database holds: the revisions that it says it has, and the names of its tables."""

    revisions: tuple[str, ...] = ()
    tables: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Schema:
    """A database's schema compared with an MLflow's; `steps` is how many revisions it is behind, where that is known.

    empty: there is no table (nor, with SQLite, a file). current: the schema that this MLflow works with. behind: an
    older one. unknown: a revision that this MLflow does not know, being older itself, or no MLflow's. several: more
    than one revision, there or here. broken: a migration died in it.
    """

    mlflow: str
    state: State
    database: tuple[str, ...]
    heads: tuple[str, ...]
    steps: int | None
    left_over: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """As JSON."""
        return {
            "mlflow": self.mlflow,
            "state": self.state,
            "database": list(self.database),
            "heads": list(self.heads),
            "steps": self.steps,
            "left_over": list(self.left_over),
        }


def compare(seen: Seen, history: History) -> Schema:
    """Compare what a database holds with what an MLflow knows."""
    left_over = tuple(sorted(table for table in seen.tables if table.startswith(_LEFT_OVER)))
    state = _state(seen, history, left_over)
    known = state in ("current", "behind")
    steps = history.steps(seen.revisions[0], history.heads[0]) if known else None
    return Schema(history.mlflow, state, seen.revisions, history.heads, steps, left_over)


def _state(seen: Seen, history: History, left_over: Iterable[str]) -> State:
    if not seen.revisions and not seen.tables - {_REVISION_TABLE}:
        return "empty"
    if left_over:
        return "broken"
    if len(seen.revisions) > 1 or len(history.heads) != 1:
        return "several"
    if _MLFLOW_TABLE not in seen.tables or not set(seen.revisions) & set(history.parents):
        return "unknown"
    return "current" if seen.revisions == history.heads else "behind"


def schema(database: Database) -> Schema:
    """Compare a database with the installed MLflow. Nothing is changed, and no SQLite file is made.

    Raises DatabaseError where the database cannot be read, MissingPackageError where the installed MLflow has no
    migrations.
    """
    return compare(look(database), installed_history())


def schema_of(revision: str) -> Schema:
    """Compare a database that is not at hand, such as one in a backup, by its revision; raises as `schema`."""
    return compare(Seen((revision,), frozenset({_MLFLOW_TABLE})), installed_history())


def login_schema_of(database: Database) -> dict[str, object]:
    """Compare the tables of MLflow's login with the installed MLflow; see `login_schema.compare`."""
    if database.is_sqlite and not database.file.exists():
        return {"state": "none", "database": [], "heads": login_schema.heads()}
    with database.reading() as connection:
        return login_schema.compare(connection)


def look(database: Database) -> Seen:
    """Read revisions and names of tables; an SQLite file that is missing holds none.

    Raises DatabaseError where the database cannot be read.
    """
    if database.is_sqlite and not database.file.exists():
        return Seen()
    with database.reading() as connection:
        tables = frozenset(sa.inspect(connection).get_table_names())
        if _REVISION_TABLE not in tables:
            return Seen((), tables)
        column: sa.ColumnClause[str] = sa.column("version_num")
        revisions = connection.scalars(sa.select(column).select_from(sa.table(_REVISION_TABLE)))
        return Seen(tuple(sorted(map(str, revisions))), tables)


def installed_history() -> History:
    """Return the revisions of the MLflow that is installed; raises MissingPackageError where it has no migrations."""
    try:
        scripts = ScriptDirectory(str(_migrations())).walk_revisions()
        parents = {script.revision: _as_tuple(script.down_revision) for script in scripts}
    except CommandError as error:
        raise DatabaseError(
            f"the migrations of MLflow {VERSION} cannot be read: {error}", "install MLflow anew"
        ) from error
    return History(VERSION, parents)


def _migrations() -> Path:
    # The package itself, not the one of the migrations: they have had no __init__.py in some versions.
    for package in mlflow.__path__:
        directory = Path(package) / "store" / "db_migrations"
        if (directory / "versions").is_dir():
            return directory
    raise MissingPackageError(
        f"the installed MLflow {VERSION} has no migrations of its database", "pip install mlflow"
    )


def _as_tuple(revisions: str | Iterable[str] | None) -> tuple[str, ...]:
    if revisions is None:
        return ()
    return (revisions,) if isinstance(revisions, str) else tuple(revisions)
