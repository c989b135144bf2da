# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of an upgrade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.record import (
    InPlaceRecord,
)


@dataclass(frozen=True, kw_only=True)
class Version:
    """What a stack runs.

    Attributes:
        image: Of the MLflow server.
        postgres_image: Of the stack's PostgreSQL; empty for none.
        mlflow: Version of MLflow; empty where it is not known.
        revision: Of the database's schema; empty where it is not known.
        postgres: Major version of PostgreSQL; empty for none.
    """

    image: str
    postgres_image: str = ""
    mlflow: str = ""
    revision: str = ""
    postgres: str = ""

    @property
    def images(self) -> tuple[str, ...]:
        """The images that have to be there."""
        return tuple(filter(None, (self.image, self.postgres_image)))

    def __str__(self) -> str:
        postgres = f" on PostgreSQL {self.postgres}" if self.postgres else ""
        return f"MLflow {self.mlflow}{postgres}" if self.mlflow else self.image


@dataclass(frozen=True, kw_only=True)
class UpgradeRecord(InPlaceRecord):
    """One upgrade of MLflow, and of the stack's PostgreSQL.

    Attributes:
        source: The version before.
        target: The version after.
        changes_login: Whether the login's tables get another schema, when the next server first starts.
    """

    NAME: ClassVar[str] = "upgrade"
    PLAYBOOK: ClassVar[str] = "playbooks/upgrade.yml"
    WAY_BACK: ClassVar[str] = "the backup from before the upgrade"

    source: Version
    target: Version
    changes_login: bool = False

    @property
    def title(self) -> str:
        """The upgrade in a sentence."""
        return f"upgrade from {self.source} to {self.target}"

    @property
    def successor(self) -> str:
        """The version after, for people."""
        return str(self.target)

    @property
    def changes_schema(self) -> bool:
        """Whether the database gets another schema."""
        return self.source.revision != self.target.revision or self.changes_login

    @property
    def changes_postgres(self) -> bool:
        """Whether the stack's PostgreSQL gets another image."""
        return self.source.postgres_image != self.target.postgres_image

    @property
    def replaces_cluster(self) -> bool:
        """Whether that one is of another major version, so that it cannot read the cluster."""
        return self.changes_postgres and self.source.postgres != self.target.postgres

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON; the versions are called ``from`` and ``to``."""
        plain = {**super().as_dict(), "from": dict(vars(self.source)), "to": dict(vars(self.target))}
        return {name: value for name, value in plain.items() if name not in ("source", "target")}

    @classmethod
    def _fields(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        versions = {"source": Version(**value["from"]), "target": Version(**value["to"])}
        return {**super()._fields(value), **versions}
