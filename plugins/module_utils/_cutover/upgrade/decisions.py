# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade is to do: from what is deployed, what is asked for and what was begun before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.decisions import (
    last_done,
    require_installed,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import new_id, to_resume
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        target: The images of the collection's version.
        resume: ``finish`` or ``undo`` an interrupted upgrade; empty for neither.
        undo: Whether the last upgrade is to be undone.
        installed: Digest of the stack's files.
        check: Whether nothing is to be changed.
        now: The time as an id.
    """

    target: Version
    resume: str = ""
    undo: bool = False
    installed: str = ""
    check: bool = False
    now: str = ""


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        action: ``none``, ``start``, ``finish`` or ``rollback``.
        record: Of the upgrade; None where there is nothing to do.
        deployed: What the stack runs.
    """

    action: str
    record: UpgradeRecord | None
    deployed: Version

    def __str__(self) -> str:
        if self.record is None:
            return f"Nothing to do: {self.deployed.image} runs already."
        verb = {"start": "Upgrade", "finish": "Finish the upgrade", "rollback": "Undo the upgrade"}[
            self.action
        ]
        return f"{verb} from {self.record.source} to {self.record.target}."


def decide(deployed: Version, store: Store, records: Sequence[Record], options: Options) -> Decision:
    """Decide what an upgrade does.

    Raises:
        RefusedError: Nothing can be done, or somebody has to choose first.
    """
    begun = to_resume(records, UpgradeRecord, options.resume, check=options.check)
    if begun is not None:
        return Decision("finish" if options.resume == "finish" else "rollback", begun, deployed)
    if options.undo:
        return Decision("rollback", _to_undo(deployed, records, options.installed), deployed)
    if _same_images(deployed, options.target):
        return Decision("none", None, deployed)
    if bool(deployed.postgres_image) != bool(options.target.postgres_image):
        raise RefusedError(
            "The deployed stack and the variables name different databases, of which only one is the stack's own "
            "PostgreSQL. Nothing was changed",
            "Put the deployed one into mlflow_stack_backend_store",
        )
    identifier = new_id(options.now, records)
    record = UpgradeRecord(id=identifier, source=deployed, target=options.target, store=store)
    return Decision("start", record, deployed)


def require_same_on_swarm(before: str, after: str) -> None:
    """Refuse another major version of a swarm's PostgreSQL.

    Raises:
        RefusedError: They differ.
    """
    if before != after:
        raise RefusedError(
            f"The swarm's PostgreSQL is {before}, and the next image has {after}, which cannot read its cluster; on a "
            "swarm, no playbook brings it over. Nothing was changed",
            f"Name an image with PostgreSQL {before} in mlflow_stack_postgres_image; or dump the database with the "
            "present version, and restore that into a PostgreSQL outside, which mlflow_stack_backend_store then names",
        )


def _to_undo(deployed: Version, records: Sequence[Record], installed: str) -> UpgradeRecord:
    """Return the last upgrade, where its backup still is what a way back needs."""
    last = last_done(records, UpgradeRecord)
    if not _same_images(last.target, deployed):
        raise RefusedError(
            f"The last upgrade led to {last.target.image}, and {deployed.image} is deployed: what was deployed since "
            "may have changed the database. Nothing was changed",
            "Restore a backup",
        )
    require_installed(last, installed)
    return last


def _same_images(one: Version, other: Version) -> bool:
    return (one.image, one.postgres_image) == (other.image, other.postgres_image)
