# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a storage switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store


@dataclass(frozen=True, kw_only=True)
class SwitchRecord(Record):
    """One switch of the store.

    Attributes:
        source: The store before.
        target: The store after.
        migrate: ``all``, or ``none`` where only new runs go to the target.
        experiments: Those that move; empty for all.
        undoes: Id of the switch that this one undoes; empty for none.
        rest: Whether the target was in use before, so that this one moves what an earlier one left.
        directories: Directories below the source to keep to; empty for all.
        already_moved: Directories below the target that the source's leftovers must not overwrite.
        accounts: Further SFTP accounts that rows lead to afterwards.
        left: Locations that stay at the source.
    """

    NAME: ClassVar[str] = "switch"
    PLAYBOOK: ClassVar[str] = "playbooks/storage_switch.yml"

    state: str = "copying"
    source: Store
    target: Store
    migrate: str = "all"
    experiments: tuple[int, ...] = ()
    undoes: str = ""
    rest: bool = False
    directories: tuple[str, ...] = ()
    already_moved: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    left: int = 0

    @property
    def title(self) -> str:
        """The switch in a sentence."""
        return f"switch from {self.source} to {self.target}"

    @property
    def moves_files(self) -> bool:
        """Whether the artifacts themselves go elsewhere, and not only the way to them."""
        return self.source.uri != self.target.uri

    @property
    def moves_rows(self) -> bool:
        """Whether locations in the database change."""
        return self.source.root != self.target.root

    @property
    def copies(self) -> bool:
        """Whether files are copied."""
        return self.moves_files and self.migrate == "all"

    @property
    def is_part(self) -> bool:
        """Whether something stays at the source."""
        return self.migrate == "none" or bool(self.experiments)

    @property
    def second_account(self) -> bool:
        """Whether it goes from one SFTP account to another."""
        stores = (self.source, self.target)
        return all(store.storage == "sftp" for store in stores) and self.source.account != self.target.account

    def same_switch(self, other: SwitchRecord) -> bool:
        """Whether both mean the same, whenever they were begun."""
        names = ("source", "target", "migrate", "experiments", "undoes")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON; the stores are called ``from`` and ``to``."""
        plain = {**super().as_dict(), "from": self.source.as_dict(), "to": self.target.as_dict()}
        return {name: value for name, value in plain.items() if name not in ("source", "target")}

    @classmethod
    def _fields(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        stores = {"source": Store(**value["from"]), "target": Store(**value["to"])}
        # Records of version 1 call it so.
        already_moved = tuple(value.get("already_moved", value.get("settled", ())))
        return {**super()._fields(value), **stores, "already_moved": already_moved}
