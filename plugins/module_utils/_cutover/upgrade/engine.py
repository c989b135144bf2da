# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade changes while MLflow is closed, and its way back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NoReturn, Protocol

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import (
    Clock,
    Engine,
    Operations,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord


class UpgradeOperations(Operations[UpgradeRecord], Protocol):
    """What an upgrade does besides; each deed raises `CutoverError` where it fails, and may be repeated."""

    def replace_postgres(self, record: UpgradeRecord) -> None:
        """Start the next PostgreSQL; where it cannot read the cluster, on a new one with the content of the backup."""

    def migrate(self, record: UpgradeRecord) -> None:
        """Give the database the schema of the next version."""

    def try_candidate(self, record: UpgradeRecord) -> None:
        """Read old runs back and make a round trip through the next server, which nobody else reaches."""

    def count(self, record: UpgradeRecord) -> Mapping[str, int]:
        """Return how many runs and so on MLflow knows."""

    def back_up_after(self, record: UpgradeRecord) -> None:
        """Keep the database as the next version leaves it."""

    def restore_postgres(self, record: UpgradeRecord) -> None:
        """Start the PostgreSQL from before, on its own cluster."""

    def restore_database(self, record: UpgradeRecord) -> None:
        """Give the database the content of the backup."""

    def installed(self, record: UpgradeRecord) -> str:
        """Return a digest of the stack's files."""


class StayedError(CutoverError):
    """A step failed after MLflow was opened, and going back would lose what was logged since."""

    def __init__(self, record: UpgradeRecord, logged: str) -> None:
        super().__init__(
            f"{record.error.rstrip('.')} | MLflow was open on {record.target} already, and {logged} came "
            "in since, so nothing was undone",
            "Mend what failed and run this playbook with -e resume=finish; or go back without what came in, with "
            "-e resume=undo -e discard=true",
        )
        self.record = record


class UpgradeEngine(Engine[UpgradeRecord]):
    """Carries out one upgrade."""

    def __init__(
        self,
        record: UpgradeRecord,
        operations: UpgradeOperations,
        clock: Clock = time.monotonic,
        *,
        discard: bool = False,
    ) -> None:
        super().__init__(record, operations, clock)
        self._operations = operations
        self._discard = discard

    def require_nothing_lost(self) -> None:
        """Refuse to go back where that would lose what came in since, unless that may be.

        Raises:
            RefusedError: Something came in, or nobody can tell.
        """
        record = self.record
        if self._discard or not record.opened or record.kept or record.brought_back:
            return
        logged = self._named_since()
        if logged:
            self._common.tidy(self.record)
            raise RefusedError(
                f"{logged} came in since MLflow was opened on {record.target}, and the database from before does "
                "not know of that. Nothing was changed",
                "Give it up with -e discard=true: the present database is kept beside the record",
            )

    def logged_since(self) -> Mapping[str, int]:
        """Return how many runs and so on came in since MLflow was opened on the next version."""
        return more(self.record.known, self._step("Count what came in since", self._operations.count))

    def _change(self) -> None:
        run = self._operations
        self._step("Back up the database", run.back_up)
        self._write(tried=True)
        if self.record.changes_postgres:
            self._step("Replace PostgreSQL", run.replace_postgres)
        self._step("Migrate the database", run.migrate)
        self._step("Try the next server", run.try_candidate)
        self.record = self.record.updated(known=self._step("Count what MLflow knows", run.count))

    def _roll_back(self, error: CutoverError) -> NoReturn:
        self.record = self.record.updated(error=str(error))
        logged = self._named_since() if self.record.opened else ""
        if logged:
            self._common.write(self.record)
            self._common.tidy(self.record)
            raise StayedError(self.record, logged) from error
        super()._roll_back(error)

    def _conclude(self) -> None:
        installed = self._step("Note the installed files", self._operations.installed)
        self.record = self.record.updated(installed=installed)

    def _bring_back(self) -> None:
        run = self._operations
        if not self.record.tried:
            return
        if self.record.opened and not self.record.kept:
            self._keep_what_came_in()
        if self.record.changes_postgres:
            self._step("Restore PostgreSQL", run.restore_postgres)
        if not self.record.replaces_cluster:
            self._step("Restore the database", run.restore_database)

    def _named_since(self) -> str:
        """Return what came in since MLflow was opened, for people; empty for nothing."""
        try:
            return named(self.logged_since())
        except CutoverError as error:
            return f"nobody knows how much ({error.seen})"

    def _keep_what_came_in(self) -> None:
        """Keep the database as it is: also what is not counted changes it, as a new tag does."""
        logged = self._named_since()
        behind = f"{logged} came in since the upgrade; the database with that was kept beside the record"
        try:
            self._step("Back up the database of the next version", self._operations.back_up_after)
        except CutoverError as error:
            if not self._discard:
                raise
            behind = f"What came in since the upgrade could not be kept: {error.seen}"
            logged = "something"
        self._write(kept=True, left_behind=behind if logged else "")


def more(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return what there is more of than before, and how much; what is gone is none."""
    return {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}


def named(counts: Mapping[str, int]) -> str:
    """Return counts for people."""
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
