# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engines of cutovers have in common that change the database where it is: its backup is the way back."""

from __future__ import annotations

import time
from typing import Generic, Protocol, TypeVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import (
    DatabaseEngine,
    DatabaseOperations,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import Clock
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.record import (
    InPlaceKind,
    InPlaceRecord,
)

InPlaceSubject = TypeVar("InPlaceSubject", bound=InPlaceRecord, contravariant=True)


class InPlaceOperations(DatabaseOperations[InPlaceSubject], Protocol[InPlaceSubject]):
    """What such a cutover does besides; each deed raises `CutoverError` where it fails, and may be repeated."""

    def back_up_after(self, record: InPlaceSubject) -> None:
        """Keep the database as it is after the cutover."""

    def restore_database(self, record: InPlaceSubject) -> None:
        """Give the database the content of the backup."""


class InPlaceEngine(DatabaseEngine[InPlaceKind], Generic[InPlaceKind]):
    """Carries out one such cutover."""

    def __init__(
        self,
        record: InPlaceKind,
        operations: InPlaceOperations[InPlaceKind],
        clock: Clock = time.monotonic,
        *,
        discard: bool = False,
    ) -> None:
        super().__init__(record, operations, clock, discard=discard)
        self._in_place = operations

    def _bring_back(self) -> None:
        if not self.record.tried:
            return
        if self.record.opened and not self.record.kept:
            self._keep_what_came_in()
        self._restore()

    def _restore(self) -> None:
        self._step("Restore the database", self._in_place.restore_database)

    def _keep_what_came_in(self) -> None:
        """Keep the database as it is: also what is not counted changes it, as a new tag does."""
        name = self.record.NAME
        logged = self._named_since()
        behind = f"{logged} came in since the {name}; the database with that was kept beside the record"
        try:
            self._step("Back up the database that is given up", self._in_place.back_up_after)
        except CutoverError as error:
            if not self._discard:
                raise
            behind = f"What came in since the {name} could not be kept: {error.seen}"
            logged = "something"
        self._write(kept=True, left_behind=behind if logged else "")
