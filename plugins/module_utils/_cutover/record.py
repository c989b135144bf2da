# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a cutover: what it is, how far it is, what went wrong. After a power cut it decides what may be "
"done."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

# Grows when an engine of before could not finish or undo what this one has begun.
VERSION = 2
FILE = "switch.json"
# Ids are names of directories, and sort by time.
ID_FORMAT = "%Y%m%dT%H%M%SZ"

STATES = ("copying", "cutting", "opening", "undoing", "done", "undone")
# In which files and database may be between the stores.
INTERRUPTED = ("cutting", "opening", "undoing")


@dataclass(frozen=True)
class Record:
    """One switch of the store.

    Attributes:
        id: When it was begun, which is the name of its directory.
        source: The store before.
        target: The store after.
        migrate: ``all``, or ``none`` where only new runs go to the target.
        experiments: Those that move; empty for all.
        undoes: Id of the switch that this one undoes; empty for none.
        rest: Whether the target was in use before, so that this one moves what an earlier one left.
        state: One of `STATES`.
        directories: Directories below the source to keep to; empty for all.
        already_moved: Directories below the target that the source's leftovers must not overwrite.
        accounts: Further SFTP accounts that rows lead to afterwards.
        tried: Whether a round trip may have logged to the target.
        opened: Whether anybody may have.
        brought_back: Whether rows and files are back at the source.
        error: What went wrong first.
        left_behind: What could not be brought back to the source.
        left: Locations that stay at the source.
        finished: When it was done.
        closed_seconds: How long MLflow was closed; None where that is not known.
        steps: What was done: name, seconds, status.
        version: Of the engine's records.
    """

    id: str
    source: Store
    target: Store
    migrate: str = "all"
    experiments: tuple[int, ...] = ()
    undoes: str = ""
    rest: bool = False
    state: str = "copying"
    directories: tuple[str, ...] = ()
    already_moved: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    tried: bool = False
    opened: bool = False
    brought_back: bool = False
    error: str = ""
    left_behind: str = ""
    left: int = 0
    finished: str = ""
    closed_seconds: float | None = None
    steps: tuple[Mapping[str, Any], ...] = ()
    version: int = VERSION

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

    @property
    def interrupted(self) -> bool:
        """Whether files and database may be between the stores."""
        return self.state in INTERRUPTED

    def same_switch(self, other: Record) -> bool:
        """Whether both mean the same, whenever they were begun."""
        names = ("source", "target", "migrate", "experiments", "undoes")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def updated(self, **changes: Any) -> Record:
        """Return the record with some fields changed."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON; the stores are called ``from`` and ``to``."""
        plain = {**vars(self), "from": self.source.as_dict(), "to": self.target.as_dict()}
        plain = {name: value for name, value in plain.items() if name not in ("source", "target")}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Record:
        """Return the record that JSON holds.

        Raises:
            RefusedError: It is of a newer engine, or no record.
        """
        version = value.get("version", 1)
        if not isinstance(version, int) or version > VERSION:
            raise RefusedError(
                f"The record {value.get('id', '')} is of version {version}, and this collection knows {VERSION} "
                "at most",
                "Run the playbook with the version of the collection that made the record, or a later one",
            )
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        known["version"] = version
        known["already_moved"] = value.get("already_moved", value.get("settled", ()))
        for name in ("experiments", "directories", "already_moved", "accounts", "steps"):
            known[name] = tuple(known.get(name, ()))
        try:
            record = cls(**{**known, "source": Store(**value["from"]), "target": Store(**value["to"])})
        except (KeyError, TypeError) as error:
            raise RefusedError(
                f"The record {value.get('id', '')} cannot be understood: {error}",
                f"Restore its {FILE} from a backup, or move the record's directory away if the switch is not needed",
            ) from error
        if record.state not in STATES:
            raise RefusedError(
                f"The record {record.id} is in the unknown state {record.state!r}",
                "Run the playbook with the version of the collection that made the record",
            )
        return record


def load(path: Path) -> Record:
    """Read a record.

    Raises:
        RefusedError: It cannot be read or understood.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"The record {path} cannot be read: {error}", "Restore the file from a backup"
        ) from error
    if not isinstance(value, dict):
        raise RefusedError(f"The record {path} is no JSON object", "Restore the file from a backup")
    return Record.from_dict(value)


def load_all(switches: Path) -> list[Record]:
    """Read the records of a stack, the earliest first; raises RefusedError as `load` does."""
    return [load(path) for path in sorted(switches.glob(f"*/{FILE}"))]


def write(record: Record, directory: Path) -> None:
    """Replace the record in a directory, so that after a power cut the old one or the new one is there."""
    temporary = directory / f".{FILE}.new"
    with open(temporary, "w", opener=_private) as file:
        file.write(json.dumps(record.as_dict(), indent=2, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / FILE)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
