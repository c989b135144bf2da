# SPDX-License-Identifier: GPL-3.0-or-later
"""A cutover of services that Docker Compose runs, on one host."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files, round_trips
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.driver import another_password
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import images_of


class ComposeDriver:
    """`driver.Driver` of Docker Compose: compose.yml says how the services are described."""

    rolls = False

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._seconds = stack.settings.wait_timeout

    def require_steady(self, replicas: int, *, closes: bool) -> None:
        """One host starts nothing by itself."""

    def digest(self) -> str:
        return files.digest(self._stack.settings.directory)

    def keep(self, directory: Path) -> None:
        """compose.yml is among the files."""

    def describe(self, following: Path, image: str) -> None:
        """The role mlflow_stack has written the next compose.yml."""

    def describe_store(self, following: Path) -> None:
        """Likewise."""

    def images(self, archive: Path) -> list[str]:
        return images_of(files.text_of(archive, "compose.yml"))

    def install(self, following: Path) -> None:
        files.install(following, self._stack.settings.directory)

    def restore(self, archive: Path, *, credentials: bool) -> None:
        files.restore(archive, self._stack.settings.directory, credentials=credentials)

    def forget(self, directory: Path) -> None:
        """Services see the files themselves."""

    def jobs(self) -> list[str]:
        return self._stack.jobs()

    def provide_maintenance(self, image: str) -> None:
        if docker.inspect(self._stack.maintenance) is not None:
            return
        project = self._stack.project
        docker.run(
            *("container", "create", f"--name={self._stack.maintenance}", "--pull=never", "--stop-timeout=2"),
            *docker.RESTRICTED,
            *docker.NO_PROXIES,
            f"--label={LABEL}={self._stack.settings.directory}",
            f"--label=freegee.mlflow_sftp.project={project.name}",
            *(f"--network={project.network}", "--network-alias=mlflow", "--restart=unless-stopped"),
            *(f"--publish={port}" for port in project.ports),
            *(image, "python", "-m", "mlflow_sftp.maintenance_server", "--port", "5000"),
        )

    def close(self) -> float:
        # Whoever uses MLflow from elsewhere need not wait for these to end.
        if self._stack.project.stopped:
            self._stack.compose.run("stop", *self._stack.project.stopped)
        closed_at = time.monotonic()
        with self._stack.requests_waiting():
            self._stack.compose.run("stop", "mlflow")
            docker.run("container", "start", self._stack.maintenance)
        return closed_at

    def open(self, directory: Path) -> float:
        # Made while there is still an answer.
        self._stack.compose.run("up", "--no-start", "--no-build", "mlflow")
        docker.remove(self._stack.maintenance)
        return self._stack.open(self._seconds)

    def await_services(self) -> None:
        self._stack.await_services(self._seconds)

    def clients(self) -> Iterator[tuple[str, str]]:
        return round_trips.clients(self._stack)

    def start_candidate(self, following: Path, options: Sequence[str]) -> None:
        candidate = self._stack.candidate
        docker.Compose(str(following)).run(
            *("run", "--detach", "--no-deps", f"--name={candidate}", *options, "mlflow"),
        )
        docker.wait_until_healthy(candidate, self._seconds, lambda: self._stack.answers(candidate, following))
        if not self._stack.lets_in(candidate, following):
            raise another_password("docker compose restart mlflow")
