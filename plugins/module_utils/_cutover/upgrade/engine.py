# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade changes while MLflow is closed, and its way back."""

from __future__ import annotations

import time
from typing import Protocol

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import Clock
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.engine import (
    InPlaceEngine,
    InPlaceOperations,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord


class UpgradeOperations(InPlaceOperations[UpgradeRecord], Protocol):
    """What an upgrade does besides; each deed raises `CutoverError` where it fails, and may be repeated."""

    def replace_postgres(self, record: UpgradeRecord) -> None:
        """Start the next PostgreSQL; where it cannot read the cluster, on a new one with the content of the backup."""

    def migrate(self, record: UpgradeRecord) -> None:
        """Give the database the schema of the next version."""

    def restore_postgres(self, record: UpgradeRecord) -> None:
        """Start the PostgreSQL from before, on its own cluster."""


class UpgradeEngine(InPlaceEngine[UpgradeRecord]):
    """Carries out one upgrade."""

    def __init__(
        self,
        record: UpgradeRecord,
        operations: UpgradeOperations,
        clock: Clock = time.monotonic,
        *,
        discard: bool = False,
    ) -> None:
        super().__init__(record, operations, clock, discard=discard)
        self._operations = operations

    def _change(self) -> None:
        run = self._operations
        self._step("Back up the database", run.back_up)
        self._write(tried=True)
        if self.record.changes_postgres:
            self._step("Replace PostgreSQL", run.replace_postgres)
        self._step("Migrate the database", run.migrate)
        self._try()

    def _restore(self) -> None:
        if self.record.changes_postgres:
            self._step("Restore PostgreSQL", self._operations.restore_postgres)
        if not self.record.replaces_cluster:
            super()._restore()


class RollingEngine(UpgradeEngine):
    """Carries out an upgrade whose servers may serve beside those from before: nothing is closed.

    The database stays, so that going back loses nothing either.
    """

    def _change(self) -> None:
        self._step("Try the next server", self._operations.try_candidate)

    def _close(self) -> None:
        self.record = self.record.updated(closed_seconds=0.0)

    def _open(self) -> None:
        self._step("Replace the servers one after the other", self._common.open)

    def _named_since(self) -> str:
        return ""
