# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade changes while MLflow is closed, and its way back."""

from __future__ import annotations

import time
from typing import Protocol

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import (
    DatabaseEngine,
    DatabaseOperations,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import Clock
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord


class UpgradeOperations(DatabaseOperations[UpgradeRecord], Protocol):
    """What an upgrade does besides; each deed raises `CutoverError` where it fails, and may be repeated."""

    def replace_postgres(self, record: UpgradeRecord) -> None:
        """Start the next PostgreSQL; where it cannot read the cluster, on a new one with the content of the backup."""

    def migrate(self, record: UpgradeRecord) -> None:
        """Give the database the schema of the next version."""

    def back_up_after(self, record: UpgradeRecord) -> None:
        """Keep the database as the next version leaves it."""

    def restore_postgres(self, record: UpgradeRecord) -> None:
        """Start the PostgreSQL from before, on its own cluster."""

    def restore_database(self, record: UpgradeRecord) -> None:
        """Give the database the content of the backup."""


class UpgradeEngine(DatabaseEngine[UpgradeRecord]):
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
