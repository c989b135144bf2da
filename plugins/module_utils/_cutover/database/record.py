# SPDX-License-Identifier: GPL-3.0-or-later
"""What the records of cutovers have in common after which MLflow goes on with another database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

DatabaseKind = TypeVar("DatabaseKind", bound="DatabaseRecord")


@dataclass(frozen=True, kw_only=True)
class DatabaseRecord(Record):
    """A cutover after which MLflow goes on with another database, and whose way back leads to the one before.

    Attributes:
        store: Where the artifacts are.
        known: How many rows the database had when MLflow was opened, by table; empty before that.
        installed: Digest of the files that the cutover gave the stack; empty before it is done.
    """

    # What the way back needs of the database before, and what becomes of the one after.
    WAY_BACK: ClassVar[str]
    GIVEN_UP: ClassVar[str]

    store: Store
    known: Mapping[str, int] = field(default_factory=dict)
    installed: str = ""

    @property
    def successor(self) -> str:
        """What MLflow is opened on, for people."""
        raise NotImplementedError

    @property
    def going_back(self) -> bool:
        """Whether it was settled before that what was logged since is given up."""
        raise NotImplementedError

    @property
    def may_stay(self) -> bool:
        """Whether a way back that was begun can be left again, for what was logged since is still there."""
        return self.state == "undoing" and self.opened and not (self.going_back or self.brought_back)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON."""
        return {**super().as_dict(), "store": self.store.as_dict(), "known": dict(self.known)}

    @classmethod
    def _fields(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        return {**super()._fields(value), "store": Store(**value["store"])}
