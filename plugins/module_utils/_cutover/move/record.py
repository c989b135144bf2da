# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a move of MLflow's database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.record import (
    DatabaseRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import SERVICE_PLACE


@dataclass(frozen=True)
class Database:
    """A database of MLflow's.

    Attributes:
        place: What `database_place` says of it, which holds no password.
        is_service: Whether it is that of the stack's own PostgreSQL; None for "if it is where that one is", which one
            of the user's own may be as well.
    """

    place: str
    is_service: bool | None = None

    def __post_init__(self) -> None:
        """Decide by the place where nothing else was said."""
        if self.is_service is None:
            object.__setattr__(self, "is_service", self.place == SERVICE_PLACE)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file on the stack's volume."""
        return self.place.startswith("sqlite:")

    @property
    def kind(self) -> str:
        """What keeps it, for people."""
        return "SQLite" if self.is_sqlite else "PostgreSQL"

    def __str__(self) -> str:
        if self.is_service:
            return "the stack's PostgreSQL"
        return f"{self.kind} ({self.place})"


@dataclass(frozen=True, kw_only=True)
class MoveRecord(DatabaseRecord):
    """One move of MLflow's database to another place.

    `tried` says that the target holds all rows, and perhaps what the next server wrote; until then it is empty or a
    copy.

    Attributes:
        source: The database before, which is only read.
        target: The database after, empty before.
        rows: How many were copied; 0 before that.
        left: How many rows the database after had when MLflow went back, by table; None where nobody counted.
        made_volume: Whether the volume of the stack's PostgreSQL, if there is one, is of this move's making.
        remains: Whether what the move has copied could not be removed on the way back.
        pruned: Whether the database that the move left was removed since.
    """

    NAME: ClassVar[str] = "move"
    PLAYBOOK: ClassVar[str] = "playbooks/database_move.yml"
    WAY_BACK: ClassVar[str] = "the database from before the move"
    GIVEN_UP: ClassVar[str] = (
        "the present database stays where it is, until playbooks/database_prune.yml removes it"
    )

    source: Database
    target: Database
    rows: int = 0
    left: Mapping[str, int] | None = None
    made_volume: bool = False
    remains: bool = False
    pruned: bool = False

    @property
    def title(self) -> str:
        """The move in a sentence."""
        return f"move of the database from {self.source} to {self.target}"

    @property
    def successor(self) -> str:
        """The database after, for people."""
        return str(self.target)

    @property
    def going_back(self) -> bool:
        """Whether it was settled, with MLflow closed, what is left behind."""
        return self.state == "undoing" and bool(self.left_behind)

    @property
    def kept(self) -> Database | None:
        """The database that the move left where it was; None for none."""
        if self.pruned:
            return None
        if self.state == "done":
            return self.source
        return self.target if self.state == "undone" and (self.opened or self.remains) else None

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON; the databases are called ``from`` and ``to``, by their places."""
        plain = {
            **super().as_dict(),
            "from": self.source.place,
            "from_service": self.source.is_service,
            "to": self.target.place,
            "to_service": self.target.is_service,
        }
        return {name: value for name, value in plain.items() if name not in ("source", "target")}

    @classmethod
    def _fields(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        databases = {
            "source": Database(value["from"], value.get("from_service")),
            "target": Database(value["to"], value.get("to_service")),
        }
        return {**super()._fields(value), **databases}
