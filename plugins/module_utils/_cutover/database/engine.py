# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engines of cutovers have in common whose way back would lose what was logged since MLflow was opened."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Generic, NoReturn, Protocol, TypeVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.record import (
    DatabaseKind,
    DatabaseRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import (
    Clock,
    Engine,
    Operations,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)

DatabaseSubject = TypeVar("DatabaseSubject", bound=DatabaseRecord, contravariant=True)


class DatabaseOperations(Operations[DatabaseSubject], Protocol[DatabaseSubject]):
    """What such a cutover does besides; each deed raises `CutoverError` where it fails, and may be repeated."""

    def try_candidate(self, record: DatabaseSubject) -> None:
        """Read old runs back and make a round trip through the next server, which nobody else reaches."""

    def count(self, record: DatabaseSubject) -> Mapping[str, int]:
        """Return how many runs and so on the database after the cutover holds."""

    def installed(self, record: DatabaseSubject) -> str:
        """Return a digest of the stack's files."""


class StayedError(CutoverError):
    """A step failed after MLflow was opened, and going back would lose what was logged since."""

    def __init__(self, record: DatabaseRecord, logged: str) -> None:
        super().__init__(
            f"{record.error.rstrip('.')} | MLflow was open on {record.successor} already, and {logged} came "
            "in since, so nothing was undone",
            "Mend what failed and run this playbook with -e resume=finish; or go back without what came in, with "
            "-e resume=undo -e discard=true",
        )
        self.record = record


class DatabaseEngine(Engine[DatabaseKind], Generic[DatabaseKind]):
    """Carries out one such cutover; with `discard`, what was logged since may be given up."""

    def __init__(
        self,
        record: DatabaseKind,
        operations: DatabaseOperations[DatabaseKind],
        clock: Clock = time.monotonic,
        *,
        discard: bool = False,
    ) -> None:
        super().__init__(record, operations, clock)
        self._counting = operations
        self._discard = discard
        # What the last question for what came in since has found; None where it had no answer.
        self._counted: Mapping[str, int] | None = None

    def require_nothing_lost(self) -> None:
        """Refuse to go back where that would lose what came in since, unless that may be.

        Raises:
            RefusedError: Something came in, or nobody can tell.
        """
        record = self.record
        if self._discard or not record.opened or record.going_back or record.brought_back:
            return
        logged = self._named_since()
        if logged:
            self._common.tidy(self.record)
            raise RefusedError(
                f"{logged} came in since MLflow was opened on {record.successor}, and the database from before does "
                "not know of that. Nothing was changed",
                f"Give it up with -e discard=true: {record.GIVEN_UP}",
            )

    def logged_since(self) -> Mapping[str, int]:
        """Return how many runs and so on came in since MLflow was opened."""
        self._counted = None
        self._counted = self._step("Count what came in since", self._counting.count)
        return more(self.record.known, self._counted)

    def _try(self) -> None:
        """Try the next server, and note what MLflow knows before anybody logs to it."""
        self._step("Try the next server", self._counting.try_candidate)
        self.record = self.record.updated(known=self._step("Count what MLflow knows", self._counting.count))

    def _roll_back(self, error: CutoverError) -> NoReturn:
        self.record = self.record.updated(error=str(error))
        logged = self._named_since() if self.record.opened else ""
        if logged:
            self._common.write(self.record)
            self._common.tidy(self.record)
            raise StayedError(self.record, logged) from error
        super()._roll_back(error)

    def _conclude(self) -> None:
        installed = self._step("Note the installed files", self._counting.installed)
        self.record = self.record.updated(installed=installed)

    def _named_since(self) -> str:
        """Return what came in since MLflow was opened, for people; empty for nothing."""
        try:
            return named(self.logged_since())
        except CutoverError as error:
            return f"nobody knows how much ({error.seen})"


def more(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return what there is more of than before, and how much; what is gone is none."""
    return {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}


def named(counts: Mapping[str, int]) -> str:
    """Return counts for people."""
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
