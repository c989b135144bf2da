# SPDX-License-Identifier: GPL-3.0-or-later
"""The one machine under everything that closes MLflow: the order of its steps, what is recorded, and the way back.

Every step may be repeated, so whatever stops the machine, a later run finishes the cutover or rolls it back. The
record is written before each step after which database and files may differ from what it says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, NoReturn, Protocol, TypeVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    StepError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Kind, Record

Clock = Callable[[], float]
Result = TypeVar("Result")
Subject = TypeVar("Subject", bound=Record, contravariant=True)


class Operations(Protocol[Subject]):
    """What every cutover does; each deed raises `CutoverError` where it fails, and may be repeated."""

    def write(self, record: Subject) -> None:
        """Keep the record, also over a power cut."""

    def announce(self, step: str) -> None:
        """Let whoever looks know which step begins."""

    def prepare(self, record: Subject) -> None:
        """Start what the closed phase uses, while MLflow still serves."""

    def save_files(self, record: Subject) -> None:
        """Keep the stack's files as they are before the cutover."""

    def drain(self, record: Subject) -> None:
        """Require that no job runs, or stop those that do."""

    def close(self, record: Subject) -> float:
        """Stop the services and answer in MLflow's place; return since when it is closed."""

    def back_up(self, record: Subject) -> None:
        """Keep the database as it is before the cutover."""

    def install_files(self, record: Subject) -> None:
        """Give the stack its next files."""

    def open(self, record: Subject) -> float:
        """Start MLflow in place of what answers for it, and the other services; return when MLflow answered."""

    def verify(self, record: Subject) -> None:
        """Make a round trip from every service, and require that all are well."""

    def await_services(self, record: Subject) -> None:
        """Wait until every service is well."""

    def prepare_rollback(self, record: Subject) -> None:
        """Start what the way back uses."""

    def restore_files(self, record: Subject) -> None:
        """Give the stack its files from before."""

    def tidy(self, record: Subject) -> None:
        """Remove what the cutover started for itself."""


class RolledBackError(CutoverError):
    """A step failed, and everything is as it was before."""

    def __init__(self, record: Record) -> None:
        super().__init__(
            f"{record.error.rstrip('.')} | The {record.title} was undone: MLflow answers, and everything is "
            f"where it was before. {record.left_behind}".rstrip(". ")
        )
        self.record = record


class NotUndoneError(CutoverError):
    """The way back was begun and left again: MLflow is open on what it was open on before."""


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


class Engine(Generic[Kind]):
    """Carries out one cutover, from whatever its record says; what is changed while MLflow is closed, a kind says."""

    def __init__(self, record: Kind, operations: Operations[Kind], clock: Clock = time.monotonic) -> None:
        self.record = record
        self._common = operations
        self._clock = clock
        self._closed_at: float | None = None

    def _change(self) -> None:
        """Change everything that is changed while MLflow is closed, and try it."""
        raise NotImplementedError

    def _conclude(self) -> None:
        """Do what follows once everything is verified."""

    def _settle(self) -> None:
        """Look again whether going back may be, now that nobody writes any more; raises NotUndoneError where not."""

    def _bring_back(self) -> None:
        """Give the database its content from before."""
        raise NotImplementedError

    def finish(self) -> Kind:
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
        self._common.tidy(self.record)
        return self.record

    def undo(self) -> Kind:
        """Roll back to the state before; raises StuckError where that fails, NotUndoneError where it must not be."""
        try:
            self._back()
        except NotUndoneError:
            raise
        except CutoverError as error:
            raise StuckError(self.record, error) from error
        finally:
            self._common.tidy(self.record)
        return self.record

    def _begin(self) -> None:
        """Do what changes nothing that would have to be put back."""
        run = self._common
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
        run = self._common
        if self.record.state == "cutting":
            if resumed:
                self._step("Prepare the cutover", run.prepare)
            self._close()
            self._change()
            self._write(state="opening", opened=True)
        self._step("Install the next files", run.install_files)
        self._open()
        self._step("Verify new and old runs from every service", run.verify)
        self._conclude()
        self._write(state="done", finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    def _roll_back(self, error: CutoverError) -> NoReturn:
        self.record = self.record.updated(error=str(error))
        self.undo()
        raise RolledBackError(self.record) from error

    def _back(self) -> None:
        run = self._common
        self._write(state="undoing")
        self._step("Prepare the rollback", run.prepare_rollback)
        self._close()
        if not self.record.brought_back:
            self._settle()
            self._bring_back()
            self._write(brought_back=True)
        self._step("Restore the stack's files from before", run.restore_files)
        self._open()
        self._step("Wait for the other services", run.await_services)
        self._write(state="undone")

    def _close(self) -> None:
        closed_at = self._step("Close MLflow", self._common.close)
        if self._closed_at is None:
            self._closed_at = closed_at

    def _open(self) -> None:
        opened_at = self._step("Open MLflow", self._common.open)
        if self._closed_at is not None:
            self.record = self.record.updated(closed_seconds=round(opened_at - self._closed_at, 1))

    def _step(self, name: str, deed: Callable[[Kind], Result]) -> Result:
        self._common.announce(name)
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
        self._common.write(record)
        self.record = record
