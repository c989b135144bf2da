# SPDX-License-Identifier: GPL-3.0-or-later
"""What a move of the database changes while MLflow is closed, and its way back."""

from __future__ import annotations

import time
from typing import Protocol

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import (
    DatabaseEngine,
    DatabaseOperations,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import Clock
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import MoveRecord


class MoveOperations(DatabaseOperations[MoveRecord], Protocol):
    """What a move does besides; each deed raises `CutoverError` where it fails, and may be repeated."""

    def lacks_volume(self, record: MoveRecord) -> bool:
        """Return whether the move has to make the volume of the target; raises where somebody else's has its name."""

    def empty_target(self, record: MoveRecord) -> None:
        """Remove all that the target holds."""

    def copy(self, record: MoveRecord) -> int:
        """Bring every row to the target and compare it, or none; return how many there are."""

    def retire_source(self, record: MoveRecord) -> None:
        """Stop what serves the database before, and leave that where it is."""

    def retire_target(self, record: MoveRecord) -> None:
        """Stop what serves the database after, and leave that where it is."""

    def remove_target(self, record: MoveRecord) -> str:
        """Remove what was begun of the database after; return why that could not be."""


class MoveEngine(DatabaseEngine[MoveRecord]):
    """Carries out one move."""

    def __init__(
        self,
        record: MoveRecord,
        operations: MoveOperations,
        clock: Clock = time.monotonic,
        *,
        discard: bool = False,
    ) -> None:
        super().__init__(record, operations, clock, discard=discard)
        self._operations = operations

    def _begin(self) -> None:
        try:
            # Noted before it is made: only what a move has made, it may give up.
            self._write(made_volume=self._step("Look for the target's volume", self._operations.lacks_volume))
        except CutoverError:
            self._common.tidy(self.record)
            raise
        super()._begin()

    def _change(self) -> None:
        run = self._operations
        if self.record.tried:
            # The next server has written to it, so that it is no copy any more.
            self._step("Remove the rows of the interrupted try", run.empty_target)
        rows = self._step("Copy the database and compare every row", run.copy)
        self._write(tried=True, rows=rows)
        self._try()

    def _conclude(self) -> None:
        super()._conclude()
        self._step("Retire the database from before", self._operations.retire_source)

    def _bring_back(self) -> None:
        """Leave the new database: the one before was only read."""
        run = self._operations
        if not self.record.opened:
            behind = self._step("Remove what was begun of the new database", run.remove_target)
            self.record = self.record.updated(left_behind=behind, remains=bool(behind))
            return
        if not self.record.left_behind:
            behind = self._told_of_what_is_left()
            self._write(left_behind=behind, left=self._counted)
        self._step("Retire the new database", run.retire_target)

    def _told_of_what_is_left(self) -> str:
        since = (
            f"{self._logged} came in since the move; with that" if self._logged else "As it was at the end"
        )
        return f"{since}, the database stays at {self.record.target}, until playbooks/database_prune.yml removes it"
