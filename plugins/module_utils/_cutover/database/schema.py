# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the MLflow of an image can go on with a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError

_UPGRADE = (
    "Run playbooks/upgrade.yml: it backs up, migrates, tries and opens, and goes back where anything fails"
)


@dataclass(frozen=True)
class Schema:
    """What ``mlflow-sftp schema`` found out with the MLflow of an image.

    Attributes:
        mlflow: Version of that MLflow.
        state: ``empty``, ``current``, ``behind``, ``unknown``, ``several`` or ``broken``.
        database: Revisions that the database names.
        heads: Revisions that this MLflow needs.
        steps: How many revisions lie between; None where that is not known.
        left_over: Tables of a migration that did not end.
        login: Of the tables of MLflow's login: ``none``, ``current``, ``behind`` or ``unknown``; ``none`` as well where
            the program does not tell.
        login_database: Revisions that these have.
    """

    mlflow: str
    state: str
    database: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    steps: int | None = None
    left_over: tuple[str, ...] = ()
    login: str = "none"
    login_database: tuple[str, ...] = ()

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Schema:
        """Return what the program answered with ``--json``."""
        return cls(
            mlflow=answer["mlflow"],
            state=answer["state"],
            database=tuple(answer["database"]),
            heads=tuple(answer["heads"]),
            steps=answer["steps"],
            left_over=tuple(answer["left_over"]),
            login=answer.get("login", {}).get("state", "none"),
            login_database=tuple(answer.get("login", {}).get("database", ())),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()
        }

    @property
    def revision(self) -> str:
        """The database's revision, or all of them; empty for none."""
        return ", ".join(self.database)


def require_usable(schema: Schema, deployed_heads: tuple[str, ...]) -> None:
    """Refuse a database that no migration of this MLflow can begin with.

    Args:
        schema: Of the database, as the next image sees it.
        deployed_heads: Revisions that the deployed MLflow needs; empty where nobody knows.

    Raises:
        RefusedError: It is newer, unknown, ambiguous or damaged.
    """
    if schema.state == "unknown" and schema.database and set(schema.database) <= set(deployed_heads):
        raise RefusedError(
            f"The database has the schema of a newer MLflow ({schema.revision}) than the MLflow {schema.mlflow} of "
            "this "
            "version of the collection. Nothing was changed",
            "Deploy with the version of the collection that made it, or go back to the one before the upgrade with its "
            "playbooks/upgrade.yml -e undo=true",
        )
    if schema.state == "unknown":
        raise RefusedError(
            f"The database has the schema {schema.revision or 'of no revision'}, which neither the deployed MLflow nor "
            "MLflow "
            f"{schema.mlflow} knows. Nothing was changed",
            "Deploy with the MLflow that made it, or restore a backup",
        )
    if schema.state == "several":
        raise RefusedError(
            f"The database names several revisions ({schema.revision}), of MLflow {schema.mlflow} "
            f"{', '.join(schema.heads)} is needed, so nobody can tell what a migration would begin with. Nothing was "
            "changed",
            "Restore a backup",
        )
    if schema.state == "broken":
        raise RefusedError(
            f"The database holds what a migration left that did not end ({', '.join(schema.left_over)}). Nothing was "
            "changed",
            "Restore the backup from before that migration",
        )
    if schema.login == "unknown":
        raise RefusedError(
            f"The tables of MLflow's login have the schema {', '.join(schema.login_database) or 'of no revision'}, "
            f"which MLflow {schema.mlflow} does not know. Nothing was changed",
            "Deploy with the MLflow that made them, or restore a backup",
        )


def require_current(schema: Schema, deployed_heads: tuple[str, ...]) -> None:
    """Refuse a database that MLflow would migrate by itself, without a way back, or not start on.

    Raises:
        RefusedError: As `require_usable`, or an upgrade is due.
    """
    require_usable(schema, deployed_heads)
    if schema.state == "behind":
        steps = f" ({schema.steps} steps)" if schema.steps else ""
        raise RefusedError(
            f"MLflow {schema.mlflow} needs the database's schema {', '.join(schema.heads)}, and the database has "
            f"{schema.revision}{steps}. Nothing was changed",
            _UPGRADE,
        )
    if schema.login == "behind":
        raise RefusedError(
            f"MLflow {schema.mlflow} needs another schema of its login's tables than the database has "
            f"({', '.join(schema.login_database)}), and would migrate them when it starts, on which the deployed one "
            "could not start again. Nothing was changed",
            _UPGRADE,
        )


def require_same_postgres(before: str, after: str) -> None:
    """Refuse a PostgreSQL that cannot read the cluster of the one before.

    Raises:
        RefusedError: Their major versions differ.
    """
    if before != after:
        raise RefusedError(
            f"The stack's PostgreSQL is {before}, and the next image has {after}, which cannot read its cluster. "
            "Nothing was changed",
            "Run playbooks/upgrade.yml: it dumps the database with the old and restores it into the new one",
        )
