# SPDX-License-Identifier: GPL-3.0-or-later
"""What a storage switch changes while MLflow is closed, and its way back."""

from __future__ import annotations

import time
from typing import Protocol

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import (
    Clock,
    Engine,
    Operations,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord


class SwitchOperations(Operations[SwitchRecord], Protocol):
    """What a switch does besides; each deed raises `CutoverError` where it fails, and may be repeated."""

    def copy_rest(self, record: SwitchRecord) -> None:
        """Copy what was written since the first copy."""

    def relocate(self, record: SwitchRecord) -> None:
        """Change the locations in the database."""

    def compare(self, record: SwitchRecord) -> None:
        """Require that rows lead where the next files say."""

    def try_candidate(self, record: SwitchRecord) -> None:
        """Read old runs back and make a round trip through the next server, which nobody else reaches."""

    def count_left(self, record: SwitchRecord) -> int:
        """Return how many locations stay at the source."""

    def forget_trial(self, record: SwitchRecord) -> None:
        """Remove what the candidate's round trip left."""

    def copy_back(self, record: SwitchRecord) -> str:
        """Bring back what was logged to the target; return why that could not be."""

    def restore_rows(self, record: SwitchRecord) -> None:
        """Give every row the value from before."""

    def relocate_since(self, record: SwitchRecord) -> None:
        """Change the locations of what was logged to the target."""


class SwitchEngine(Engine[SwitchRecord]):
    """Carries out one switch."""

    def __init__(
        self, record: SwitchRecord, operations: SwitchOperations, clock: Clock = time.monotonic
    ) -> None:
        super().__init__(record, operations, clock)
        self._operations = operations

    def _change(self) -> None:
        run = self._operations
        self._step("Copy files that were written since the first copy", run.copy_rest)
        self._step("Back up the database", run.back_up)
        self._step("Change the locations", run.relocate)
        self._step("Compare the changed locations with the plan", run.compare)
        self._write(tried=True)
        self._step("Try the next server", run.try_candidate)

    def _conclude(self) -> None:
        if self.record.is_part:
            left = self._step("Count the locations that stay", self._operations.count_left)
            self.record = self.record.updated(left=left)

    def _bring_back(self) -> None:
        """Put rows and files back. Once MLflow was open again, the target's copies are the older ones."""
        run, unreachable = self._operations, ""
        if self.record.tried and not self.record.opened:
            self._step("Remove the trial's run", run.forget_trial)
        # Where the target was in use before as well, what was logged to it may stay there.
        since = self.record.opened and not self.record.rest
        if since and self.record.moves_files:
            unreachable = self._step("Copy files back that were written to the new store", run.copy_back)
        self._step("Restore the old locations", run.restore_rows)
        if since and self.record.moves_rows and not unreachable:
            self._step("Relocate runs that were logged since the opening", run.relocate_since)
        behind = (
            f"What was logged in the meantime could not be fetched from there: {unreachable}"
            if unreachable
            else ""
        )
        self.record = self.record.updated(left_behind=behind)
