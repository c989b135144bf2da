# SPDX-License-Identifier: GPL-3.0-or-later
"""What every cutover does, with Docker's client and the package's program in containers."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files, round_trips
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import record as records
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.drivers import driver_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    Program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Kind
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

# Where tools have what they write.
WORK = "/var/lib/mlflow-storage"
# Says which step a cutover is at.
STEP_FILE = "step"
ROUND_TRIP_SECONDS = round_trips.SECONDS
# Of many problems.
NAMED = 3
_RUNS_WHILE_CLOSED = 10
_RESERVE = ".reserve"
_RESERVE_BYTES = 4 << 20


class Deeds(Generic[Kind]):
    """The deeds that all cutovers have in common: `engine.Operations` on real containers."""

    # What a run that begins has done before jobs stop it.
    done_before = "Nothing was changed"
    # Commands of the package's program that the tool imports before MLflow is closed.
    preloaded: Sequence[str] = ("backup", "info")

    def __init__(self, stack: Stack, record: Kind) -> None:
        self._stack = stack
        self._driver = driver_of(stack)
        self._record = record
        self._settings = stack.settings
        self._directory = self._settings.switches / record.id
        self._tool: Program | None = None
        self._candidate: Program | None = None
        self.notes: list[str] = []

    @property
    def work(self) -> Path:
        """What the tools write."""
        return self._directory / "work"

    def make_directories(self, record: Kind) -> None:
        """Make the cutover's directories."""
        for path in (self._settings.switches, self._directory, self.work):
            path.mkdir(mode=0o700, exist_ok=True)
        os.chown(self.work, self._settings.uid, self._settings.gid)

    def purge(self, record: Kind) -> list[str]:
        """Remove for good what the round trips left; the cutover is complete, and stays so if this fails."""
        try:
            return [*self._purge_round_trips(record), *self._tell_afterwards(record)]
        finally:
            self.tidy(record)

    def write(self, record: Kind) -> None:
        try:
            self._write(record)
        except OSError as error:
            raise CutoverError(
                f"the record {self._directory / record.file()} cannot be written: {error.strerror}",
                "Make room on that file system, or mend it",
            ) from error

    def announce(self, step: str) -> None:
        # Nothing depends on it.
        with contextlib.suppress(OSError):
            (self._directory / STEP_FILE).write_text(f"{step}\n")

    def save_files(self, record: Kind) -> None:
        with translated("the stack's files cannot be kept"):
            files.save(self._settings.directory, self._archive)
            self._extract_before()
            self._driver.keep(self._directory)
            # Given up where the file system is full, so that the record of the way back can be written.
            (self._directory / _RESERVE).write_bytes(os.urandom(_RESERVE_BYTES))

    def drain(self, record: Kind) -> None:
        # A stopped job loses its work, one that goes on would write to what is left behind.
        jobs = self._driver.jobs()
        if jobs and not self._settings.stop_jobs:
            raise RefusedError(
                f"Jobs are running and would lose their work: {', '.join(jobs)}. {self.done_before}",
                "Run this playbook again when they have ended, or with -e stop_jobs=true to stop them",
            )
        if jobs:
            docker.run("container", "stop", "-t=60", *jobs)

    def close(self, record: Kind) -> float:
        self._stack.end_tidying()
        docker.remove(self._stack.trainer)
        self._provide_maintenance()
        return self._driver.close()

    def back_up(self, record: Kind) -> None:
        # A resumed cutover finds the backup from before its first change.
        if not (self.work / "database.backup").exists():
            self._require_tool().call("backup", f"{WORK}/database.backup")

    def install_files(self, record: Kind) -> None:
        with translated("the next files cannot be installed"):
            self._driver.install(self._directory / "next")

    def open(self, record: Kind) -> float:
        opened_at = self._driver.open(self._directory)
        docker.remove(self._stack.candidate)
        return opened_at

    def await_services(self, record: Kind) -> None:
        self._driver.await_services()

    def verify(self, record: Kind) -> None:
        containers = dict(self._driver.clients())
        started = round_trips.start(self._stack, self._store(record).access, containers)
        self._verify_meanwhile(record)
        self.await_services(record)
        failures = round_trips.failures(started)
        docker.remove(self._stack.trainer)
        if failures:
            raise CutoverError("the round trip failed from " + "; ".join(failures))

    def prepare_rollback(self, record: Kind) -> None:
        (self._directory / _RESERVE).unlink(missing_ok=True)
        if self._candidate is None:
            docker.remove(self._stack.candidate)
        # The one that runs may be what failed.
        self._restart_tool()

    def restore_files(self, record: Kind) -> None:
        with translated("the files from before cannot be restored"):
            self._driver.restore(self._archive, credentials=True)

    def tidy(self, record: Kind) -> None:
        for program in filter(None, (self._tool, self._candidate)):
            program.end()
        self._tool = self._candidate = None
        containers = [self._stack.tool, self._stack.candidate, self._stack.trainer]
        if not record.interrupted:
            containers.append(self._stack.maintenance)
        with contextlib.suppress(CutoverError):
            docker.remove(*containers)
        with contextlib.suppress(OSError):
            (self._directory / _RESERVE).unlink()
        if record.state in ("done", "undone"):
            for path in (self._directory / "next", self._before):
                shutil.rmtree(path, ignore_errors=True)

    def start(self, name: str, *command: str, labels: Mapping[str, str] | None = None) -> None:
        """Start a container that has stores, database and the cutover's directory."""
        raise NotImplementedError

    @property
    def runs_while_closed(self) -> str:
        """How many old runs are read back while MLflow is closed; what is asked for beyond them follows afterwards."""
        asked = self._settings.verify_runs
        return str(_RUNS_WHILE_CLOSED if asked == "all" else min(int(asked), _RUNS_WHILE_CLOSED))

    def read_back(self, program: Program, arguments: Sequence[str], seconds: float | None) -> None:
        """Read old runs back and note how many; raises CutoverError where they are not as they were."""
        found = program.call(*arguments, accepted=(0, INCOMPLETE), seconds=seconds)
        require_unharmed(found)
        self.notes = [
            f"Read back and compared: {found['runs']} runs and {found['models']} models, {found['files']} files, "
            f"{readable_size(found['bytes'])}."
        ]

    def _purge_round_trips(self, record: Kind) -> list[str]:
        try:
            self._require_tool().call(*self._purge_arguments(record))
        except CutoverError as error:
            return [f"What the round trips left could not be removed: {error} verify.yml removes it later."]
        return []

    def _tell_afterwards(self, record: Kind) -> list[str]:
        """Return what else is to be told of a cutover that is complete."""
        return []

    def _store(self, record: Kind) -> Store:
        """Return the store afterwards."""
        raise NotImplementedError

    def _purge_arguments(self, record: Kind) -> tuple[str, ...]:
        return ("purge-roundtrips", "--destination", self._store(record).uri)

    def _make_next(self) -> Path:
        """Return the directory of the next files, made anew and empty."""
        following = self._directory / "next"
        shutil.rmtree(following, ignore_errors=True)
        following.mkdir(mode=0o755)
        return following

    def _extract_before(self) -> None:
        shutil.rmtree(self._before, ignore_errors=True)
        self._before.mkdir(mode=0o755)
        files.extract(self._archive, self._before)

    def _verify_meanwhile(self, record: Kind) -> None:
        """Verify what else there is, while the services make their round trips."""

    @property
    def _image(self) -> str:
        """The image of the tools."""
        return self._stack.project.image

    @property
    def _archive(self) -> Path:
        """The stack's files as they are before the cutover."""
        return self._directory / "before.tar"

    @property
    def _before(self) -> Path:
        """The files from before, which the tools go on with once the stack has others."""
        return self._directory / "before"

    def _start_candidate(self, *options: str) -> None:
        """Start the server of the next files, which nobody else reaches, and wait until it answers."""
        docker.remove(self._stack.candidate)
        self._driver.start_candidate(self._directory / "next", [*options, f"--volume={self.work}:{WORK}:z"])
        self._candidate = Program(self._stack.candidate, ["read-back", "roundtrip"])

    def _restart_tool(self) -> None:
        if self._tool is not None:
            self._tool.end()
            self._tool = None
        self._start_tool()

    def _start_tool(self) -> None:
        if self._tool is None:
            self.start(self._stack.tool)
            self._tool = Program(self._stack.tool, self.preloaded)

    def _require_tool(self) -> Program:
        if self._tool is None:
            self._start_tool()
        assert self._tool is not None
        return self._tool

    def _require_candidate(self) -> Program:
        if self._candidate is None:
            raise CutoverError("the next server is not running")
        return self._candidate

    def _provide_maintenance(self) -> None:
        self._driver.provide_maintenance(self._image)

    def _write(self, record: Kind) -> None:
        reserve = self._directory / _RESERVE
        try:
            records.write(record, self._directory)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not reserve.exists():
                raise
            reserve.unlink()
            records.write(record, self._directory)


def require_state(stack: Stack, record: Kind) -> Kind:
    """Return a record as it is on disk.

    Raises:
        RefusedError: Another run has gone on with it.
    """
    known = load(stack.settings.switches / record.id / record.file(), type(record))
    if known.state != record.state:
        raise RefusedError(
            f"The {record.title} begun at {record.id} is {known.state} and was {record.state} when this run looked: "
            "another run has gone on with it. Nothing was changed",
            "Run this playbook again",
        )
    return known


def require_unharmed(found: Mapping[str, Any]) -> None:
    """Raise CutoverError where reading back has found problems."""
    problems = found["problems"]
    if problems:
        first = "; ".join(" ".join(str(word) for word in each.values() if word) for each in problems[:NAMED])
        raise CutoverError(f"artifacts are not as they were, {len(problems)} problems: {first}")


@contextlib.contextmanager
def translated(failure: str) -> Iterator[None]:
    """Turn what the host's files refuse into a `CutoverError`."""
    try:
        yield
    except OSError as error:
        raise CutoverError(f"{failure}: {error}") from error
