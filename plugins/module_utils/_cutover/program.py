# SPDX-License-Identifier: GPL-3.0-or-later
"""The package's program in a container, kept running so that no command waits for Python to start."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    LateError,
    UnchangedError,
)

PYTHON = "/opt/venv/bin/python"
# Done, but something was found or left behind.
INCOMPLETE = 3


class Program:
    """A conversation with ``mlflow-sftp serve`` in a container; `preload` names the commands to import at once."""

    def __init__(self, container: str, preload: Sequence[str]) -> None:
        options = [word for name in preload for word in ("--preload", name)]
        command = [
            "docker",
            "exec",
            "--interactive",
            container,
            PYTHON,
            "-m",
            "mlflow_sftp",
            "serve",
            *options,
        ]
        self._container = container
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
        )
        self._ready = False

    def call(
        self, *arguments: str, accepted: Collection[int] = (0,), seconds: float | None = None
    ) -> Mapping[str, Any]:
        """Run a command with ``--json`` and return what it prints; without an answer in time, the program is ended.

        Raises:
            UnchangedError: It failed, and says that nothing was changed.
            LateError: It did not answer within so many seconds.
            CutoverError: It failed otherwise, or the container is gone: what it was at may be done or not.
        """
        self.wait()
        with self._ended_after(seconds):
            answer = self._exchange([*arguments, "--json"])
        result: Mapping[str, Any] = answer["result"] or {}
        if answer["exit"] in accepted and "error" not in result:
            return result
        error = result.get("error")
        if error is not None:
            kind = UnchangedError if error.get("unchanged") is True else CutoverError
            raise kind(str(error["seen"] or error["message"]), str(error["remedy"]))
        raise CutoverError(
            _last_line(str(answer["errors"])) or f"{arguments[0]} ended with exit code {answer['exit']}"
        )

    def wait(self) -> None:
        """Wait until everything is imported."""
        if not self._ready:
            self._read()
            self._ready = True

    def end(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.communicate()

    @contextlib.contextmanager
    def _ended_after(self, seconds: float | None) -> Iterator[None]:
        if seconds is None:
            yield
            return
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            yield
        except CutoverError as error:
            if late.is_set():
                raise LateError(f"it did not answer within {seconds:g} s, and was stopped") from error
            raise
        finally:
            timer.cancel()

    def _exchange(self, arguments: Sequence[str]) -> Any:
        assert self._process.stdin is not None
        # Where it has ended, what it said last tells why.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(list(arguments)) + "\n")
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict):
                    return answer
            # What libraries print past Python.
            said = line.strip() or said
        raise CutoverError(
            f"the program in the container {self._container} ended: {said or 'it said nothing'}"
        )


@contextlib.contextmanager
def running_program(container: str, *preload: str) -> Iterator[Program]:
    """The program in a container, which is removed with it."""
    program = Program(container, preload)
    try:
        yield program
    finally:
        program.end()
        with contextlib.suppress(CutoverError):
            docker.remove(container)


def run_once(container: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one command in a container, with ``--json``."""
    command = ["docker", "exec", container, PYTHON, "-m", "mlflow_sftp", *arguments, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def failure_of(output: str, errors: str) -> str:
    """Return why a command failed that was started with ``--json``."""
    start = output.rfind('{\n  "contract"')
    try:
        error = json.loads(output[start:])["error"] if start >= 0 else None
    except (ValueError, KeyError):
        error = None
    return str(error["message"]) if error else _last_line(errors) or _last_line(output) or "it said nothing"


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ") if lines else ""
