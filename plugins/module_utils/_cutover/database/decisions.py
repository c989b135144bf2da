# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a cutover can be undone that gave MLflow another database."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.record import DatabaseKind
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record


def last_done(records: Sequence[Record], kind: type[DatabaseKind]) -> DatabaseKind:
    """Return the last completed cutover of a kind.

    Raises:
        RefusedError: There is none, or another cutover was completed since.
    """
    done = [record for record in records if record.state == "done"]
    last = done[-1] if done else None
    if isinstance(last, kind):
        return last
    if last is None or not any(isinstance(record, kind) for record in done):
        raise RefusedError(f"There is no completed {kind.NAME} to undo. Nothing was changed")
    raise RefusedError(
        f"The {last.title} was done at {last.id}, after the last {kind.NAME}, so {kind.WAY_BACK} is not what the "
        "database was before any more. Nothing was changed",
        f"Undo that one first: {last.PLAYBOOK} -e undo=true",
    )


def require_installed(record: DatabaseKind, installed: str) -> None:
    """Refuse to undo a cutover whose files are not the stack's any more.

    Args:
        record: Of the cutover.
        installed: Digest of the stack's files.

    Raises:
        RefusedError: They have changed.
    """
    if installed != record.installed:
        raise RefusedError(
            f"compose.yml or .env has changed since the last {record.NAME}, or the servers of a swarm have: going back "
            "would undo that as well, a new password among it. Nothing was changed",
            "Deploy what was deployed then (site.yml), and run this playbook again; or restore a backup",
        )
