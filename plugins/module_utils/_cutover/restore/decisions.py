# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore is to do, and what it gives up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.decisions import (
    last_done,
    require_installed,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import more, named
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import BEGUN, Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import to_resume
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import (
    RestoreRecord,
    Snapshot,
)

CONSENT = f"Give it up with -e discard=true: {RestoreRecord.GIVEN_UP}"


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        resume: ``finish`` or ``undo`` an interrupted restore; empty for neither.
        undo: Whether the last restore is to be undone.
        installed: Digest of the stack's files; empty where there is no stack.
        check: Whether nothing is to be changed.
    """

    resume: str = ""
    undo: bool = False
    installed: str = ""
    check: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        action: ``bare`` where there is no stack yet, ``start``, ``finish`` or ``rollback``.
        record: Of the restore that is gone on with; None for none.
    """

    action: str
    record: RestoreRecord | None = None

    def __str__(self) -> str:
        if self.record is None:
            whereto = "to this host, which has no stack" if self.action == "bare" else "into the stack"
            return f"Restore a snapshot {whereto}."
        verb = {"finish": "Finish", "rollback": "Undo"}[self.action]
        return f"{verb} the {self.record.title}."


def decide(records: Sequence[Record], options: Options) -> Decision:
    """Decide what a restore does.

    Raises:
        RefusedError: Nothing can be done, or somebody has to choose first.
    """
    if not options.installed:
        if options.undo or options.resume:
            raise RefusedError("This host has no deployed stack, so there is no restore to finish or to undo")
        return Decision("bare")
    begun = to_resume(records, RestoreRecord, options.resume, check=options.check)
    if begun is not None:
        return Decision("finish" if options.resume == "finish" else "rollback", begun)
    if not options.undo:
        return Decision("start")
    last = last_done(records, RestoreRecord)
    require_installed(last, options.installed)
    return Decision("rollback", last)


def require_as_planned(record: RestoreRecord, records: Sequence[Record], installed: str) -> None:
    """Refuse to begin a restore whose stack is not the one that it was planned for.

    Args:
        record: Of the restore.
        records: Of the stack.
        installed: Digest of the stack's files.

    Raises:
        RefusedError: Something was deployed since, or another cutover was carried out.
    """
    if record.state != "planned":
        return
    since = [f"the {each.title}" for each in records if each.id > record.id and each.state not in BEGUN]
    if installed != record.planned_on:
        since.append("compose.yml or .env has changed, or the servers of a swarm have")
    if since:
        raise RefusedError(
            f"Since the {record.title} was planned at {record.id}: {', '.join(since)}. The restore would undo that. "
            "Nothing was changed",
            "Run this playbook again",
        )


def require_no_undo(records: Sequence[Record], directory: Path) -> None:
    """Refuse to move what no row names while an undo would bring such rows back.

    Args:
        records: Of the stack, the earliest first.
        directory: Where they are.

    Raises:
        RefusedError: A restore can be undone.
    """
    done = [each for each in records if isinstance(each, RestoreRecord) and each.state == "done"]
    if done:
        raise RefusedError(
            f"The {done[-1].title} was done at {done[-1].id} and can be undone, which brings back runs whose artifacts "
            "no row of the present database names. Nothing was changed",
            f"Compare without moving anything; or move {directory / done[-1].id} away if nobody is to undo it",
        )


def given_up(snapshot: Snapshot, now: Mapping[str, int]) -> str:
    """Return what a restore of a snapshot gives up, for people; empty for nothing that is counted.

    Args:
        snapshot: Which.
        now: How many runs and so on MLflow knows now.
    """
    if is_fresh(now):
        return ""
    if not snapshot.known:
        return (
            "Nobody can tell how much came in since (an earlier version of the collection made the snapshot)"
        )
    came, gone = more(snapshot.known, now), more(now, snapshot.known)
    told = [f"{named(came)} came in since"] if came else []
    told += [f"{named(gone)} were removed since, so that more may have come in"] if gone else []
    return "; ".join(told)


def is_fresh(now: Mapping[str, int]) -> bool:
    """Whether MLflow knows nothing but the one experiment that it makes itself, as where a deployment began anew."""
    return bool(now) and all(count <= (name == "experiments") for name, count in now.items())


def require_consent(record: RestoreRecord, now: Mapping[str, int]) -> None:
    """Require that what a restore gives up may be given up.

    Raises:
        CutoverError: It may not.
    """
    told = given_up(record.snapshot, now)
    if told and not record.consent:
        raise CutoverError(f"{told}, which the {record.title} gives up", CONSENT)
