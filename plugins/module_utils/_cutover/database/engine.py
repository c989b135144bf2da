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
    NotUndoneError,
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
        """Return how many rows the database after the cutover holds, by table."""

    def installed(self, record: DatabaseSubject) -> str:
        """Return a digest of the stack's files."""


class StayedError(NotUndoneError):
    """Going back would lose what was logged since MLflow was opened."""

    def __init__(self, record: DatabaseRecord, logged: str) -> None:
        first = f"{record.error.rstrip('.')} | " if record.error else ""
        mend = (
            "Mend what failed and run this playbook with -e resume=finish; or go"
            if record.interrupted
            else "Go"
        )
        again = "resume=undo" if record.interrupted else "undo=true"
        super().__init__(
            f"{first}MLflow was open on {record.successor} already, and {logged} came in since, so nothing was undone",
            f"{mend} back without what came in, with -e {again} -e discard=true",
        )
        self.record = record


class DatabaseEngine(Engine[DatabaseKind], Generic[DatabaseKind]):
    """Carries out one such cutover; with `discard`, whoever goes back may give up what was logged since."""

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
        self._logged = ""

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
                f"Give it up with -e discard=true: {record.GIVEN_UP}"
                + ("; or keep it, with -e resume=finish" if record.interrupted else ""),
            )

    def finish(self) -> DatabaseKind:
        """Bring the cutover to its end, also from a way back that has taken nothing back yet."""
        # A failure on the way there is nobody's choice to give anything up.
        self._discard = False
        if self.record.state == "undoing":
            try:
                self._stay()
            except CutoverError:
                self._common.tidy(self.record)
                raise
        if self.record.state != "done":
            return super().finish()
        self._common.tidy(self.record)
        return self.record

    def logged_since(self) -> Mapping[str, int]:
        """Return how many rows came in since MLflow was opened, by table; what is gone is a negative number."""
        self._counted = None
        self._counted = self._step("Count what came in since", self._counting.count)
        return changes(self.record.known, self._counted)

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

    def _settle(self) -> None:
        if not self.record.opened or self.record.going_back:
            return
        # Whoever logged until MLflow was closed was not counted before.
        self._logged = self._named_since()
        if self._logged and not self._discard:
            self._stay()
            raise StayedError(self.record, self._logged)

    def _stay(self) -> None:
        """Open MLflow again on the database after, of which nothing was given up yet."""
        if not self.record.finished:
            self._step("Install the next files", self._common.install_files)
        self._step("Open MLflow again", self._common.open)
        self._write(state="done" if self.record.finished else "opening")

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


def changes(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return what there is more or (negative) less of than before; of what was not counted before, nothing is said."""
    return {name: now[name] - count for name, count in before.items() if now.get(name, count) != count}


def named(counts: Mapping[str, int]) -> str:
    """Return counts, or differences, for people."""
    return ", ".join(
        f"{abs(count)} {'fewer ' if count < 0 else ''}{name.replace('_', ' ')}"
        for name, count in counts.items()
    )
