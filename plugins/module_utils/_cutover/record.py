# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a cutover: what it is, how far it is, what went wrong.

After a power cut it decides what may be done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import durable_file, status
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError

# Grows when an engine of before could not finish or undo what this one has begun.
VERSION = 2
# Ids are names of directories, and sort by time.
ID_FORMAT = "%Y%m%dT%H%M%SZ"

# Only planned, or with a first copy that goes on while MLflow serves.
BEGUN = ("planned", "copying")
# In which files and database may be between before and after.
INTERRUPTED = ("cutting", "opening", "undoing")
STATES = (*BEGUN, *INTERRUPTED, "done", "undone")

Kind = TypeVar("Kind", bound="Record")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cutover.

    Attributes:
        id: When it was begun, which is the name of its directory.
        state: One of `STATES`.
        tried: Whether the next server may have been tried on the database.
        opened: Whether anybody else may have used it.
        brought_back: Whether database and files are as before.
        error: What went wrong first.
        left_behind: What could not be brought back.
        finished: When it was done.
        closed_seconds: How long MLflow was closed; None where that is not known.
        steps: What was done: name, seconds, status.
        version: Of the engine's records.
    """

    # What cutovers of this kind are called, and the playbook that carries them out.
    NAME: ClassVar[str]
    PLAYBOOK: ClassVar[str]

    id: str
    state: str = "planned"
    tried: bool = False
    opened: bool = False
    brought_back: bool = False
    error: str = ""
    left_behind: str = ""
    finished: str = ""
    closed_seconds: float | None = None
    steps: tuple[Mapping[str, Any], ...] = ()
    version: int = VERSION

    @property
    def title(self) -> str:
        """The cutover in a sentence, as in "the switch to ...", without the article."""
        raise NotImplementedError

    @property
    def closed(self) -> str:
        """For how long MLflow was closed, as a sentence without its end."""
        if self.closed_seconds is None:
            return f"for how long MLflow was closed is not known, because the {self.NAME} was interrupted"
        return f"MLflow was closed for {self.closed_seconds} s"

    @property
    def interrupted(self) -> bool:
        """Whether files and database may be between before and after."""
        return self.state in INTERRUPTED

    @property
    def may_stay(self) -> bool:
        """Whether a way back that was begun can be left again: nothing was taken back yet."""
        return False

    def updated(self: Kind, **changes: Any) -> Kind:
        """Return the record with some fields changed."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()
        }

    @classmethod
    def file(cls) -> str:
        """Return the name of the record's file."""
        return f"{cls.NAME}.json"

    @classmethod
    def from_dict(cls: type[Kind], value: Mapping[str, Any]) -> Kind:
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
        try:
            record = cls(**{**cls._fields(value), "version": version})
        except (KeyError, TypeError) as error:
            raise RefusedError(
                f"The record {value.get('id', '')} cannot be understood: {error}",
                f"Restore its {cls.file()} from a backup, or move the record's directory away if the {cls.NAME} "
                "is not needed",
            ) from error
        if record.state not in STATES:
            raise RefusedError(
                f"The record {record.id} is in the unknown state {record.state!r}",
                "Run the playbook with the version of the collection that made the record",
            )
        return record

    @classmethod
    def _fields(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the record is made of; raises KeyError or TypeError where that is no record."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return {name: tuple(field) if isinstance(field, list) else field for name, field in known.items()}


def read(path: Path) -> Mapping[str, Any]:
    """Read the JSON of a record.

    Raises:
        RefusedError: It cannot be read.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"The record {path} cannot be read: {error}", "Restore the file from a backup"
        ) from error
    if not isinstance(value, dict):
        raise RefusedError(f"The record {path} is no JSON object", "Restore the file from a backup")
    return value


def write(record: Record, directory: Path) -> None:
    """Replace the record in a directory, so that after a power cut the old one or the new one is there."""
    text = json.dumps(record.as_dict(), indent=2, sort_keys=True) + "\n"
    durable_file.write(directory / record.file(), text.encode())
    told = {"contract": 1, "id": record.id, "kind": record.NAME, "state": record.state}
    status.tell(directory.parent.parent, "cutover.json", {**told, "changed_seconds": int(time.time())})
