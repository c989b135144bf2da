"""A real `mlflow server` on a free loopback port, with SQLite."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.process_server import descendants, end_process_tree
from tests.support.server import free_port

_START_SECONDS = 120.0


class MlflowServer:
    """One worker and no job runner: it starts in seconds.

    Attributes: uri (http://127.0.0.1:port), log.

    Args:
        directory: Where database and log go; must not be shared by two servers.
        arguments: Further flags of `mlflow server`, which decide where artifacts go.
        environment: Variables added to this process's own.
    """

    def __init__(
        self, directory: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        self.log = directory / "log"
        self._command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{directory}/mlflow.db"),
            *arguments,
        ]
        self._environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until the API answers from the database."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_up(self._process)
        except RuntimeError:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and its workers."""
        if self._process is not None:
            end_process_tree(self._process, signal.SIGKILL)
            self._process = None

    def open_bytes(self, directory: Path) -> int:
        """Bytes of the files below `directory` that the server or a worker has open, removed ones included."""
        assert self._process is not None, "the server is not running"
        found = 0
        for pid in (self._process.pid, *descendants(self._process.pid)):
            with suppress(OSError):
                for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                    found += _size_below(descriptor, directory)
        return found

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(
                    f"{self.uri}/api/2.0/mlflow/experiments/search?max_results=1", timeout=5
                )
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
                continue
            return
        raise RuntimeError(f"the MLflow server does not answer; it said: {self.log.read_text()}")


def _size_below(descriptor: Path, directory: Path) -> int:
    with suppress(OSError):
        if os.readlink(descriptor).startswith(f"{directory}/"):
            return descriptor.stat().st_size
    return 0
