# SPDX-License-Identifier: GPL-3.0-or-later
"""The one machine under everything that closes MLflow: the order of its steps, what is recorded, and the way back.

Every step may be repeated, so whatever stops the machine, a later run finishes the cutover or rolls it back. The
record is written before each step after which the stores may differ from what it says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    StepError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record

Clock = Callable[[], float]
Result = TypeVar("Result")


class Operations(Protocol):
    """What a cutover does; each deed raises `CutoverError` where it fails, and may be repeated."""

    def write(self, record: Record) -> None:
        """Keep the record, also over a power cut."""

    def announce(self, step: str) -> None:
        """Let whoever looks know which step begins."""

    def prepare(self, record: Record) -> None:
        """Start what the closed phase uses, while MLflow still serves: the tools, and the next server, unpublished."""

    def save_files(self, record: Record) -> None:
        """Keep the stack's files as they are before the cutover."""

    def drain(self, record: Record) -> None:
        """Require that no job runs, or stop those that do."""

    def close(self, record: Record) -> float:
        """Stop the services and answer in MLflow's place; return since when it is closed."""

    def copy_rest(self, record: Record) -> None:
        """Copy what was written since the first copy."""

    def back_up(self, record: Record) -> None:
        """Keep the database as it is before the cutover."""

    def relocate(self, record: Record) -> None:
        """Change the locations in the database."""

    def compare(self, record: Record) -> None:
        """Require that rows lead where the next files say."""

    def try_candidate(self, record: Record) -> None:
        """Read old runs back and make a round trip through the next server, which nobody else reaches."""

    def install_files(self, record: Record) -> None:
        """Give the stack its next files."""

    def open(self, record: Record) -> float:
        """Start MLflow in place of what answers for it, then the other services; return when MLflow answered."""

    def verify(self, record: Record) -> None:
        """Make a round trip from every service."""

    def count_left(self, record: Record) -> int:
        """Return how many locations stay at the source."""

    def prepare_rollback(self, record: Record) -> None:
        """Start what the way back uses."""

    def forget_trial(self, record: Record) -> None:
        """Remove what the candidate's round trip left."""

    def copy_back(self, record: Record) -> str:
        """Bring back what was logged to the target; return why that could not be."""

    def restore_rows(self, record: Record) -> None:
        """Give every row the value from before."""

    def relocate_since(self, record: Record) -> None:
        """Change the locations of what was logged to the target."""

    def restore_files(self, record: Record) -> None:
        """Give the stack its files from before."""

    def tidy(self, record: Record) -> None:
        """Remove what the cutover started for itself."""


class RolledBackError(CutoverError):
    """A step failed, and everything is as it was before."""

    def __init__(self, record: Record) -> None:
        super().__init__(
            f"{record.error.rstrip('.')} | The switch to {record.target} was undone: MLflow answers, and "
            "everything is where "
            f"it was before. {record.left_behind}".rstrip(". ")
        )
        self.record = record


class StuckError(CutoverError):
    """The way back failed."""

    def __init__(self, record: Record, second: CutoverError) -> None:
        first = (
            f"{record.error.rstrip('.')} | The rollback failed as well"
            if record.error
            else "The rollback failed"
        )
        super().__init__(
            f"{first}: {str(second).rstrip('.')} | Nothing is lost, but MLflow may be closed. Mend what stopped "
            "it and run this playbook with -e resume=undo"
        )
        self.record = record


class Engine:
    """Carries out one cutover, from whatever its record says."""

    def __init__(self, record: Record, operations: Operations, clock: Clock = time.monotonic) -> None:
        self.record = record
        self._operations = operations
        self._clock = clock
        self._closed_at: float | None = None

    def finish(self) -> Record:
        """Bring the cutover to its end.

        Raises:
            CutoverError: Nothing was changed; or what went wrong, after everything was put back.
        """
        resumed = self.record.interrupted
        if not resumed:
            self._begin()
        try:
            self._forward(resumed)
        except CutoverError as error:
            self._roll_back(error)
        self._operations.tidy(self.record)
        return self.record

    def undo(self) -> Record:
        """Roll back to the state before; raises StuckError where that fails."""
        try:
            self._back()
        except CutoverError as error:
            raise StuckError(self.record, error) from error
        finally:
            self._operations.tidy(self.record)
        return self.record

    def _begin(self) -> None:
        """Do what changes nothing that would have to be put back."""
        run = self._operations
        try:
            self._step("Save the stack's files", run.save_files)
            self._step("Prepare the cutover", run.prepare)
            # Whoever began meanwhile would write to the old store after the last copy.
            self._step("Drain the running jobs", run.drain)
            self._write(state="cutting")
        except CutoverError:
            run.tidy(self.record)
            raise

    def _forward(self, resumed: bool) -> None:
        run = self._operations
        if self.record.state == "cutting":
            if resumed:
                self._step("Prepare the cutover", run.prepare)
            self._close()
            self._step("Copy files that were written since the first copy", run.copy_rest)
            self._step("Back up the database", run.back_up)
            self._step("Change the locations", run.relocate)
            self._step("Compare the changed locations with the plan", run.compare)
            self._write(tried=True)
            self._step("Try the next server", run.try_candidate)
            self._write(state="opening", opened=True)
        self._step("Install the next files", run.install_files)
        self._open()
        self._step("Verify new and old runs from every service", run.verify)
        left = 0
        if self.record.is_part:
            left = self._step("Count the locations that stay", run.count_left)
        self._write(state="done", left=left, finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    def _roll_back(self, error: CutoverError) -> None:
        self.record = self.record.updated(error=str(error))
        self.undo()
        raise RolledBackError(self.record) from error

    def _back(self) -> None:
        run = self._operations
        self._write(state="undoing")
        self._step("Prepare the rollback", run.prepare_rollback)
        self._close()
        if not self.record.brought_back:
            self._bring_back()
        self._step("Restore the stack's files from before the switch", run.restore_files)
        self._open()
        self._write(state="undone")

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
        self._write(brought_back=True, left_behind=behind)

    def _close(self) -> None:
        closed_at = self._step("Close MLflow", self._operations.close)
        if self._closed_at is None:
            self._closed_at = closed_at

    def _open(self) -> None:
        opened_at = self._step("Open MLflow", self._operations.open)
        if self._closed_at is not None:
            self.record = self.record.updated(closed_seconds=round(opened_at - self._closed_at, 1))

    def _step(self, name: str, deed: Callable[[Record], Result]) -> Result:
        self._operations.announce(name)
        begun = self._clock()
        status = "failed"
        try:
            result = deed(self.record)
            status = "ok"
        except CutoverError as error:
            raise StepError(name, error.seen, error.remedy) from error
        except Exception as error:
            # A fault of ours must not keep MLflow closed either.
            raise StepError(name, f"{type(error).__name__}: {error}") from error
        finally:
            step = {"name": name, "status": status, "seconds": round(self._clock() - begun, 2)}
            self.record = self.record.updated(steps=(*self.record.steps, step))
        return result

    def _write(self, **changes: object) -> None:
        record = self.record.updated(**changes)
        self._operations.write(record)
        self.record = record
