# SPDX-License-Identifier: Apache-2.0
"""The tables of MLflow's own login, which may lie in MLflow's database beside the others."""

from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

# Which migrations were made of the login's tables.
REVISION_TABLE = "alembic_version_auth"
# The table of what is granted.
GRANTS = "role_permissions"
_GRANTS = sa.table(GRANTS, sa.column("resource_type"), sa.column("resource_pattern"))


def has_login(connection: sa.Connection) -> bool:
    """Whether a database has the login's tables."""
    return sa.inspect(connection).has_table(REVISION_TABLE)


def user_names(connection: sa.Connection) -> list[str]:
    """The names of those who may log in; none without a login."""
    if not has_login(connection):
        return []
    name: sa.ColumnClause[str] = sa.column("username")
    return sorted(connection.scalars(sa.select(name).select_from(sa.table("users"))))


def revisions(connection: sa.Connection) -> list[str]:
    """The revisions that the login's tables of a database have."""
    column: sa.ColumnClause[str] = sa.column("version_num")
    return sorted(connection.scalars(sa.select(column).select_from(sa.table(REVISION_TABLE))))


def heads() -> list[str]:
    """The revisions that the installed MLflow works with."""
    return sorted(_scripts().get_heads())


def compare(connection: sa.Connection) -> dict[str, object]:
    """Compare the login's tables of a database with the installed MLflow, as JSON.

    `state` is none (there is no login), current, behind, or unknown, a revision that this MLflow does not know.
    """
    if not has_login(connection):
        return {"state": "none", "database": [], "heads": heads()}
    there, needed = revisions(connection), heads()
    known = {script.revision for script in _scripts().walk_revisions()}
    state = "current" if there == needed else "behind" if there and set(there) <= known else "unknown"
    return {"state": state, "database": there, "heads": needed}


def make(connection: sa.Connection) -> None:
    """Make the tables in the transaction of a connection, which stays open."""
    scripts = _scripts()
    # MLflow's own env.py would open a connection of its own.
    with EnvironmentContext(
        Config(),
        scripts,
        fn=lambda revision, _: scripts._upgrade_revs("heads", revision),
        destination_rev="heads",
    ) as context:
        context.configure(connection=connection, version_table=REVISION_TABLE)
        context.run_migrations()


def forget_experiment(connection: sa.Connection, identifier: str) -> None:
    """Revoke what anybody was granted on an experiment that goes for good: SQLite gives its number to the next one."""
    if not has_login(connection):
        return
    of_it = _GRANTS.c.resource_pattern == identifier
    connection.execute(sa.delete(_GRANTS).where(_GRANTS.c.resource_type == "experiment", of_it))


def _scripts() -> ScriptDirectory:
    # Found and not imported: the login takes a second, and packages that not everybody has.
    found = find_spec("mlflow")
    assert found is not None, "MLflow is not installed"
    return ScriptDirectory(str(Path(str(found.origin)).parent / "server" / "auth" / "db" / "migrations"))
