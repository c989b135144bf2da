# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a restore into a stack that is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.record import (
    InPlaceRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.times import readable_time
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a restore has to know of a snapshot.

    Attributes:
        id: Of 64 digits.
        time: When it was begun, seconds since the epoch.
        mlflow: Version of MLflow.
        schema: Revisions of its database.
        runs: How many there were before and after its database was copied.
        database: ``sqlite`` or ``postgresql``.
        store: Where the artifacts were.
        has_artifacts: Whether they are in it.
        known: How many runs and so on MLflow knew before its database was copied; empty where nobody noted it.
    """

    id: str
    time: float
    mlflow: str
    schema: tuple[str, ...]
    runs: tuple[int, int]
    database: str
    store: Store
    has_artifacts: bool
    known: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        plain = {name: list(each) if isinstance(each, tuple) else each for name, each in vars(self).items()}
        return {**plain, "store": self.store.as_dict(), "known": dict(self.known)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Snapshot:
        """Return what `as_dict` returned; raises TypeError or KeyError where it did not."""
        lists = {name: tuple(each) for name, each in value.items() if isinstance(each, list)}
        return cls(**{**value, **lists, "store": Store(**value["store"])})

    def __str__(self) -> str:
        return f"snapshot {self.id[:8]} of {readable_time(self.time)}"


@dataclass(frozen=True, kw_only=True)
class RestoreRecord(InPlaceRecord):
    """One restore of a snapshot into a stack that is there.

    Attributes:
        snapshot: Which.
        consent: Whether what came in since the snapshot may be given up.
        planned_on: Digest of the stack's files when it was planned, which it leaves as they are.
        identity: Of the database from before; empty until it is noted, and where nobody can tell it.
        users: Those of MLflow's login in it, likewise.
        returned: Users whom the snapshot has brought back.
    """

    NAME: ClassVar[str] = "restore"
    PLAYBOOK: ClassVar[str] = "playbooks/restore.yml"
    WAY_BACK: ClassVar[str] = "the backup from before the restore"

    snapshot: Snapshot
    consent: bool = False
    planned_on: str = ""
    identity: str = ""
    users: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The restore in a sentence."""
        return f"restore of {self.snapshot}"

    @property
    def successor(self) -> str:
        """The database after, for people."""
        return str(self.snapshot)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON."""
        return {**super().as_dict(), "snapshot": self.snapshot.as_dict()}

    @classmethod
    def _fields(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        return {**super()._fields(value), "snapshot": Snapshot.from_dict(value["snapshot"])}
