"""A scheduler and workers of dask on loopback, with the stack's own configuration and certificates."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import jinja2
from distributed import Client, Security

from tests.support.ansible import REPOSITORY
from tests.support.process_server import end_process_tree
from tests.support.server import free_port

_TEMPLATE = REPOSITORY / "roles/mlflow_stack/templates/dask.yaml.j2"


def configure(directory: Path) -> dict[str, str]:
    """Write a configuration with a new authority; returns the environment of a process that uses it."""
    security = Security.temporary()
    directory.mkdir(parents=True)
    (directory / "authority.pem").write_text(security.tls_ca_file)
    (directory / "certificate.pem").write_text(security.tls_client_cert + security.tls_client_key)
    template = jinja2.Template(_TEMPLATE.read_text())
    config = directory / "dask.yaml"
    config.write_text(template.render(__mlflow_stack_dask_secrets=directory))
    return {"DASK_CONFIG": str(config)}


class DaskCluster:
    """Workers of one process and one thread each, which know `environment`; the scheduler does not.

    Attributes: address (tls://127.0.0.1:port), configuration (what a client's environment needs), log.
    """

    def __init__(self, directory: Path, workers: int, environment: Mapping[str, str]) -> None:
        self.configuration = configure(directory / "tls")
        self.address = f"tls://127.0.0.1:{free_port()}"
        self.log = directory / "log"
        self._directory = directory
        self._workers = workers
        self._environment = dict(environment)
        self._processes: list[subprocess.Popen[bytes]] = []

    def kill_scheduler(self) -> None:
        """End the scheduler as a power cut would."""
        self._processes[0].kill()

    def client(self) -> Any:
        """Return a client of the scheduler, for a `with`."""
        files = {role: str(self._directory / "tls/certificate.pem") for role in ("cert", "key")}
        security = Security(
            require_encryption=True,
            tls_ca_file=str(self._directory / "tls/authority.pem"),
            **{f"tls_client_{role}": path for role, path in files.items()},
        )
        return Client(self.address, security=security, set_as_default=False, timeout=60)

    def __enter__(self) -> Self:
        self._start({}, "scheduler", f"--host={self.address}", "--dashboard-address=127.0.0.1:0")
        for number in range(self._workers):
            local = f"--local-directory={self._directory}/{number}"
            options = ("--nworkers=1", "--nthreads=1", "--no-dashboard", local)
            self._start(self._environment, "worker", self.address, *options)
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            with suppress(subprocess.TimeoutExpired):
                end_process_tree(process, signal.SIGKILL)

    def _start(self, environment: Mapping[str, str], *command: str) -> None:
        with self.log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *command],
                    env={**os.environ, **self.configuration, **environment},
                    stdout=log,
                    stderr=log,
                )
            )
