# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of a stack, of whatever kind: which is the last, which is half done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import MoveRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import (
    BEGUN,
    ID_FORMAT,
    Kind,
    Record,
    read,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord

# Beside the record of a switch whose old copy is gone for good.
PRUNED = "pruned"
KINDS: tuple[type[Record], ...] = (SwitchRecord, UpgradeRecord, MoveRecord, RestoreRecord)


def load_all(directory: Path) -> list[Record]:
    """Read the records of a stack, the earliest first.

    Raises:
        RefusedError: One cannot be read or understood.
    """
    found = [(path, kind) for kind in KINDS for path in directory.glob(f"*/{kind.file()}")]
    return [load(path, kind) for path, kind in sorted(found, key=lambda each: each[0].parent.name)]


def load(path: Path, kind: type[Kind]) -> Kind:
    """Read a record; raises RefusedError where it cannot be read or understood."""
    return kind.from_dict(read(path))


def interrupted(records: Sequence[Record]) -> Record | None:
    """Return the last cutover that is neither done nor undone, and was more than planned."""
    return next((record for record in reversed(records) if record.interrupted), None)


def require_none_interrupted(records: Sequence[Record]) -> None:
    """Refuse what must not run beside a cutover that is half done."""
    begun = interrupted(records)
    if begun is not None:
        raise RefusedError(
            f"The {begun.title} begun at {begun.id} is half done",
            f"Finish or undo it first: {begun.PLAYBOOK} -e resume=finish|undo",
        )


def require_none_planned(records: Sequence[Record], directory: Path) -> None:
    """Refuse what changes credentials of which the cutover that is planned has a copy.

    Args:
        records: Of the stack, the earliest first.
        directory: Where they are.
    """
    last = records[-1] if records else None
    if last is not None and last.state in BEGUN:
        raise RefusedError(
            f"The {last.title} begun at {last.id} is {last.state}, and would bring back what is replaced now. "
            "Nothing was changed",
            f"Carry it out first: {last.PLAYBOOK}; or remove {directory / last.id} if it was given up",
        )


def to_resume(records: Sequence[Record], kind: type[Kind], resume: str, *, check: bool) -> Kind | None:
    """Return the cutover of a kind that is half done and is to be finished or undone; None where there is none.

    Args:
        records: Of the stack.
        kind: Of the cutover that somebody asks for.
        resume: ``finish``, ``undo`` or nothing.
        check: Whether nothing is to be changed, which may be asked for beside one that is half done.

    Raises:
        RefusedError: Somebody has to choose first, or nothing can be resumed.
    """
    begun = interrupted(records)
    if begun is None:
        if resume:
            raise RefusedError(
                f"There is no interrupted {kind.NAME} to {resume} on this Docker host",
                "Run this playbook without resume, or, of several Docker hosts, with --limit to the one that is meant",
            )
        return None
    if not isinstance(begun, kind):
        require_none_interrupted(records)
        return None
    if not resume:
        _require_check(begun, check=check)
        return None
    _require_resumable(begun, resume)
    return begun


def new_id(now: str, records: Sequence[Record]) -> str:
    """Return an id that sorts behind all there are, whatever the clock says."""
    last = max((record.id for record in records), default="")
    if now > last:
        return now
    return (datetime.strptime(last, ID_FORMAT) + timedelta(seconds=1)).strftime(ID_FORMAT)


def _require_check(begun: Record, *, check: bool) -> None:
    if check:
        return
    error = f". What had gone wrong: {begun.error}" if begun.error else ""
    raise RefusedError(
        f"The {begun.title} was begun at {begun.id} and interrupted while {begun.state}{error}",
        "Run this playbook with -e resume=finish to finish it, or with -e resume=undo to roll back to the "
        "state before",
    )


def _require_resumable(begun: Record, resume: str) -> None:
    if begun.version == 1:
        raise RefusedError(
            f"The {begun.title} begun at {begun.id} was interrupted under an earlier version of the collection, "
            "which works otherwise",
            "Finish or undo it with that version",
        )
    if resume == "finish" and begun.state == "undoing" and not begun.may_stay:
        raise RefusedError(
            f"The {begun.title} begun at {begun.id} was already being rolled back",
            f"Run this playbook with -e resume=undo; once that is done, start a new {begun.NAME}",
        )
