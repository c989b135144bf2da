# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore changes while MLflow is closed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import Clock
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    StepError,
    UnchangedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.engine import (
    InPlaceEngine,
    InPlaceOperations,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.decisions import (
    require_consent,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord


class RestoreOperations(InPlaceOperations[RestoreRecord], Protocol):
    """What a restore does besides; each deed raises `CutoverError` where it fails, and may be repeated."""

    def restore_snapshot(self, record: RestoreRecord) -> None:
        """Give the database the content of the snapshot; raises UnchangedError where it certainly has its own still."""

    def known(self, record: RestoreRecord) -> Mapping[str, int]:
        """Return how many runs and so on MLflow knows, counted as a snapshot notes it."""

    def identify(self, record: RestoreRecord) -> str:
        """Return what is another one once the database was replaced; empty where nobody can tell."""

    def users(self, record: RestoreRecord) -> tuple[str, ...]:
        """Return the users of MLflow's login; empty where there is none, and where nobody can tell."""

    def migrate(self, record: RestoreRecord) -> None:
        """Give the database the schema of the deployed MLflow."""


class RestoreEngine(InPlaceEngine[RestoreRecord]):
    """Carries out one restore."""

    def __init__(
        self,
        record: RestoreRecord,
        operations: RestoreOperations,
        clock: Clock = time.monotonic,
        *,
        discard: bool = False,
    ) -> None:
        super().__init__(record, operations, clock, discard=discard)
        self._operations = operations

    def _change(self) -> None:
        run = self._operations
        if not self.record.tried:
            # More may have come in since the plan.
            self._step("Count what the restore gives up", self._require_consent)
        self._step("Back up the database", run.back_up)
        self._replace()
        self._name_returned()
        self._step("Migrate the database", run.migrate)
        self._try()

    def _require_consent(self, record: RestoreRecord) -> None:
        require_consent(record, self._operations.known(record))

    def _replace(self) -> None:
        tried = self.record.tried
        if not tried:
            identity = self._step("Note which database it is", self._operations.identify)
            users = self._step("Note who may log in", self._operations.users)
            self._write(tried=True, identity=identity, users=users)
        try:
            self._step("Restore the snapshot", self._operations.restore_snapshot)
        except StepError as error:
            # What kept the snapshot out would keep the backup out, and MLflow closed.
            if not tried and isinstance(error.__cause__, UnchangedError):
                self._write(tried=False)
            raise

    def _name_returned(self) -> None:
        """Note who may log in again, whom somebody has deleted since the snapshot."""
        if self.record.users:
            users = self._step("Look who may log in again", self._operations.users)
            self.record = self.record.updated(returned=tuple(sorted({*users} - {*self.record.users})))

    def _restore(self) -> None:
        if not self._is_from_before():
            super()._restore()

    def _is_from_before(self) -> bool:
        """Tell whether a run was killed before it changed the database: then no backup has to go in."""
        if not self.record.identity:
            return False
        try:
            return self._step("Look which database it is", self._operations.identify) == self.record.identity
        except StepError:
            return False
