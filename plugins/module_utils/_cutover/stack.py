# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployed stack, and the containers that a cutover starts beside it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.served import closed, served
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker import admission
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import (
    Project,
    Store,
    environment_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm import passfile
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import login

QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"
# Where containers have an SQLite database.
DATABASE = "/var/lib/mlflow"
# Where PostgreSQL's image has the volume with the cluster.
POSTGRES_HOME = "/var/lib/postgresql"


@dataclass(frozen=True)
class Settings:
    """How a stack is laid out.

    Attributes:
        directory: The stack's, with ``compose.yml`` and ``.env``.
        local_root: Where containers have the local store.
        config_dir: Where containers have the SSH client's configuration.
        key_dir: Where containers have the private key.
        uid: Of the containers' user.
        gid: Of the containers' group.
        experiment: Of the round trips.
        wait_timeout: Seconds within which the services must be healthy.
        verify_runs: How many old runs are read back, or ``all``.
        stop_jobs: Whether running jobs may be stopped.
    """

    directory: Path
    local_root: str = "/mlruns"
    config_dir: str = "/etc/mlflow_sftp"
    key_dir: str = "/run/secrets/mlflow_sftp_key"
    uid: int = 10001
    gid: int = 10001
    experiment: str = "mlflow-sftp-verify"
    wait_timeout: int = 180
    verify_runs: str = "10"
    stop_jobs: bool = False

    def __post_init__(self) -> None:
        """Refuse what means no number of runs."""
        if self.verify_runs != "all" and not (self.verify_runs.isdecimal() and int(self.verify_runs)):
            raise RefusedError(f"verify_runs is {self.verify_runs!r}", "Give a number above 0, or all")

    @property
    def switches(self) -> Path:
        """The directory of all records."""
        return self.directory / "switches"


def is_on_swarm(directory: Path) -> bool:
    """Whether a directory is that of a stack that a swarm serves; raises OSError where nobody can tell."""
    try:
        text = (directory / ".env").read_text()
    except FileNotFoundError:
        return False
    return _names_swarm(environment_of(text))


def _names_swarm(environment: Mapping[str, str]) -> bool:
    return environment.get("MLFLOW_STACK_ENGINE") == "swarm"


class Stack:
    """A deployed stack, and the containers that a cutover starts beside it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.compose = docker.Compose(str(settings.directory))
        try:
            environment = environment_of((settings.directory / ".env").read_text())
            self.project = (
                served(environment["MLFLOW_STACK_PROJECT"], settings.directory)
                if _names_swarm(environment)
                else Project.from_config(self.compose.config())
            )
        except RefusedError:
            raise
        except PermissionError as error:
            raise RefusedError(
                f"{error.filename} cannot be read by user {os.getuid()}", "Set become for this host"
            ) from error
        except (OSError, KeyError, CutoverError) as error:
            raise RefusedError(
                f"{settings.directory} holds no deployed stack ({error})".rstrip("."), "Run site.yml first"
            ) from error
        self.store = Store.from_environment(environment)
        self.database = environment.get("MLFLOW_BACKEND_STORE_URI", "")
        if not self.store.uri:
            raise RefusedError(f"{settings.directory} holds no deployed stack", "Run site.yml first")

    @property
    def tool(self) -> str:
        """Name of the container that reaches both stores and the database."""
        return f"{self.project.name}-storage"

    @property
    def copier(self) -> str:
        """Name of the container that copies while MLflow serves."""
        return f"{self.project.name}-storage-copy"

    @property
    def planner(self) -> str:
        """Name of the container that only looks, beside whatever goes on."""
        return f"{self.project.name}-storage-look"

    @property
    def asker(self) -> str:
        """Name of the container that asks MLflow beside a swarm's servers."""
        return f"{self.project.name}-storage-ask"

    @property
    def tidier(self) -> str:
        """Name of the container that tidies up while MLflow serves."""
        return f"{self.project.name}-tidy"

    @property
    def candidate(self) -> str:
        """Name of the next server, before it is opened."""
        return f"{self.project.name}-candidate"

    @property
    def trainer(self) -> str:
        """Name of the training job that makes a round trip."""
        return f"{self.project.name}-train-storage"

    @property
    def trial(self) -> str:
        """Name of a PostgreSQL without any data, which is asked what it could hold."""
        return f"{self.project.name}-postgres-trial"

    @property
    def postgres(self) -> str:
        """Name of the container of the stack's own PostgreSQL."""
        return f"{self.project.name}-postgres-1"

    @property
    def postgres_volume(self) -> str:
        """Name of the volume with its clusters."""
        return f"{self.project.name}_postgres"

    @property
    def database_network(self) -> str:
        """Name of the network on which MLflow reaches it."""
        return f"{self.project.name}_database"

    @property
    def maintenance(self) -> str:
        """Name of the container that answers while MLflow is closed."""
        return f"{self.project.name}-maintenance"

    def start_tool(
        self,
        name: str,
        volumes: Sequence[str],
        *command: str,
        labels: Mapping[str, str] | None = None,
        ssh_config: str = "",
        image: str = "",
        networks: Sequence[str] | None = None,
        database: str = "",
    ) -> None:
        """Start a container that has the local store, the database and what `volumes` give it besides.

        `database` is a URI; empty for that of the stack's files.
        """
        docker.remove(name)
        networks = networks or self.project.networks
        database = database or self.database
        try:
            docker.run(
                *("container", "run", "--detach", "--name", name, "--pull=never", "--stop-timeout=2"),
                # What the copy reports is read from there.
                "--log-driver=json-file",
                *docker.RESTRICTED,
                *docker.NO_PROXIES,
                f"--label={LABEL}={self.settings.directory}",
                *(f"--label={name}={value}" for name, value in (labels or {}).items()),
                f"--network={networks[0]}",
                *(f"--add-host={each}" for each in self.project.hosts),
                *(f"--volume={volume}" for volume in self._data(database, [*volumes, *self.login()])),
                # The value has a password: only the client's environment holds it.
                "--env=MLFLOW_BACKEND_STORE_URI",
                "--env=MLFLOW_TRACKING_URI=http://mlflow:5000",
                *([f"--env=MLFLOW_SFTP_SSH_CONFIG={ssh_config}"] if ssh_config else []),
                image or self.project.image,
                *(command or ("sleep", "infinity")),
                environment={"MLFLOW_BACKEND_STORE_URI": database},
            )
            for network in networks[1:]:
                docker.run("network", "connect", network, name)
        except CutoverError as error:
            docker.remove(name)
            if self.project.on_swarm and (reasons := closed()):
                raise CutoverError(error.seen, " ".join(reasons)) from error
            raise

    def end_tidying(self) -> None:
        """End what tidying up has left running, whose own program was killed; for whoever holds the lock."""
        docker.remove(self.tidier)

    @contextlib.contextmanager
    def reachable_database(self) -> Iterator[tuple[str, ...] | None]:
        """Yield the networks on which the database answers, also of a stack that is stopped; None without a database.

        Raises:
            CutoverError: The stack's own PostgreSQL does not start.
        """
        name = self.project.name
        if self.database.startswith("sqlite:"):
            yield ("none",) if docker.has("volume", f"{name}_database") else None
        elif "postgres" not in self.project.services:
            yield tuple(each for each in self.project.networks if docker.has("network", each)) or ("bridge",)
        elif not docker.has("volume", self.postgres_volume):
            yield None
        else:
            found = docker.inspect(self.postgres)
            running = found is not None and found["State"]["Running"]
            if not running:
                self.compose.run("up", "--detach", "--no-build", "--no-deps", "--wait", "postgres")
            try:
                yield (self.database_network,)
            finally:
                if not running:
                    self.compose.run("stop", "postgres")

    def in_clusters(self, image: str, script: str, *arguments: str) -> str:
        """Run a shell script where PostgreSQL's clusters are, with an image of PostgreSQL, and return what it prints.

        Raises:
            CutoverError: It failed.
        """
        return docker.run(
            *("container", "run", "--rm", "--pull=never", "--network=none", "--user=postgres"),
            *docker.RESTRICTED,
            f"--label={LABEL}={self.settings.directory}",
            f"--volume={self.postgres_volume}:{POSTGRES_HOME}",
            f"--workdir={POSTGRES_HOME}",
            *("--entrypoint=sh", image, "-euc", script, "sh", *arguments),
        )

    def credentials(self, directory: Path | None = None, suffix: str = "") -> list[str]:
        """Return the volumes with an account's credentials, if the directory, by default the stack's, has any."""
        directory = directory or self.settings.directory
        if not (directory / "mlflow" / "known_hosts").exists():
            return []
        return [
            f"{directory}/mlflow:{self.settings.config_dir}{suffix}:ro,z",
            f"{directory}/.secrets/mlflow_sftp_key:{self.settings.key_dir}{suffix}:ro,z",
        ]

    def experiment_of(self, service: str) -> str:
        """Return the name of the experiment of a service's round trips.

        With a login, whoever made an experiment is the only one who may delete runs in it. On a swarm, that is always
        the administrator.
        """
        own = f"-{service}" if self.has_login and not self.project.on_swarm else ""
        return f"{self.settings.experiment}{own}"

    @property
    def has_login(self) -> bool:
        """Whether the deployed stack has MLflow's own login."""
        return self._credentials.exists()

    @property
    def _credentials(self) -> Path:
        return self.settings.directory / login.DIRECTORY / "mlflow"

    def login(self) -> list[str]:
        """Return the volume with which the tools log in to MLflow, if the stack has a login."""
        return [f"{self._credentials}:{login.CREDENTIALS}:ro,z"] if self.has_login else []

    def server_login(self) -> list[str]:
        """Return the volume with the users that a server begins with, if the stack has a login."""
        file = self.settings.directory / login.DIRECTORY / login.SERVER_FILE
        return [f"{file}:{login.SERVER}:ro,z"] if self.has_login else []

    def configure_both_accounts(self, path: Path) -> None:
        """Configure OpenSSH for two accounts.

        Both may be on one server, for which OpenSSH takes the first value that it meets: known_hosts lists both files.
        """
        here = self.settings.config_dir
        path.write_text(
            f"Host *\n  UserKnownHostsFile {here}_next/known_hosts {here}/known_hosts\n"
            f"Include {here}_next/ssh_config\nInclude {here}/ssh_config\n"
        )
        path.chmod(0o600)
        os.chown(path, self.settings.uid, self.settings.gid)

    def jobs(self) -> list[str]:
        """Return the names of running jobs of the stack, those of a cutover aside."""
        filters = (
            f"label=com.docker.compose.project={self.project.name}",
            "label=com.docker.compose.oneoff=True",
        )
        options = [f"--filter={each}" for each in filters]
        names = docker.run("container", "ls", *options, "--format={{.Names}}").split()
        return [name for name in names if name not in (self.candidate, self.trainer)]

    def start(self, seconds: int, *options: str) -> float:
        """Start MLflow, then the other services; return when MLflow answered.

        Raises:
            CutoverError: They are not well within so many seconds.
        """
        answered_at = self.open(seconds)
        self.await_services(seconds, *options)
        return answered_at

    def open(self, seconds: int) -> float:
        """Start MLflow and, once it answers, the other services; return when it answered.

        Raises:
            CutoverError: It did not answer within so many seconds.
        """
        up = ("up", "--detach", "--no-build")
        with docker.complaining(*self._services):
            self.compose.run(*up, "mlflow")
            answered_at = self._wait_for_answer(seconds)
            self._start_others()
        return answered_at

    @contextlib.contextmanager
    def requests_waiting(self) -> Iterator[None]:
        """Have the gateway tell to wait whoever comes, so that none of them meets the end of a server.

        One that does not run, or that an earlier release has configured, cannot; it is no reason not to go on.
        """
        self._admit("maint")
        try:
            yield
        finally:
            self._admit("ready")

    def _admit(self, state: Literal["maint", "ready"]) -> None:
        for name in self.project.gateways:
            with contextlib.suppress(CutoverError):
                docker.run("container", "exec", f"{self.project.name}-{name}-1", *admission.command(state))

    def _start_others(self) -> None:
        # Compose itself would wait for the server's health check, which is asked every few seconds only.
        self.compose.run("up", "--no-start", "--no-build")
        # The files may have changed since the project was read.
        present = Project.from_config(self.compose.config())
        others = [f"{present.name}-{name}-1" for name in (*present.stopped, *present.gateways)]
        if others:
            docker.run("container", "start", *others)
        # Of a cutover that was killed while requests were waiting.
        self._admit("ready")

    def await_services(self, seconds: int, *options: str) -> None:
        """Wait until every service is well.

        Raises:
            CutoverError: They are not within so many seconds.
        """
        with docker.complaining(*self._services):
            self.compose.run(
                *("up", "--detach", "--no-build", *options, "--wait", f"--wait-timeout={seconds}")
            )

    @property
    def _services(self) -> list[str]:
        """The containers of the services."""
        return [f"{self.project.name}-{name}-1" for name in self.project.services]

    def answers(self, container: str, files: Path) -> bool:
        """Return whether an MLflow server answers that nobody else reaches, a question that reaches the database.

        `files` is the directory of the files that it was started with.
        """
        return self._status(container, files) == HTTPStatus.OK

    def lets_in(self, container: str, files: Path) -> bool:
        """Return whether an MLflow server takes the password with which the stack logs in, as far as it answers."""
        return not self.has_login or self._status(container, files) != HTTPStatus.UNAUTHORIZED

    def _status(self, container: str, files: Path) -> int | None:
        """Return with what an MLflow server answers a question that reaches the database; None for no answer."""
        headers = {"Host": "localhost:5000", **login.authorization(files)}
        found = docker.inspect(container)
        networks = found["NetworkSettings"]["Networks"].values() if found else ()
        for address in filter(None, (network.get("IPAddress") for network in networks)):
            question = Request(f"http://{address}:5000{QUESTION}", headers=headers)
            try:
                with build_opener(ProxyHandler({})).open(question, timeout=5) as answer:
                    return int(answer.status)
            except HTTPError as error:
                with error:
                    return error.code
            except OSError:
                continue
        return None

    def _wait_for_answer(self, seconds: float) -> float:
        """Return when MLflow answered a question that reaches the database."""
        url = f"http://{_address(self.project.ports)}{QUESTION}"
        # An address of the Docker host itself.
        opener = build_opener(ProxyHandler({}))
        question = Request(url, headers=login.authorization(self.settings.directory))
        end = time.monotonic() + seconds
        said = "nothing"
        while time.monotonic() < end:
            try:
                with opener.open(question, timeout=10):
                    return time.monotonic()
            except HTTPError as error:
                said = str(error)
            except OSError as error:
                said = str(error.reason) if hasattr(error, "reason") else str(error)
            time.sleep(0.1)
        raise CutoverError(f"MLflow did not answer at {url} within {seconds:.0f} s; last was seen: {said}")

    @property
    def database_volume(self) -> str:
        """The volume on which SQLite's file is, and where containers have it."""
        return f"{self.project.name}_database:{DATABASE}"

    def volumes(self, *further: str) -> list[str]:
        """Return the volumes with which a server reaches the store and the database, and further ones."""
        return self._data(self.database, further)

    def _data(self, database: str, further: Sequence[str]) -> list[str]:
        if self.project.on_swarm:
            # Nothing local is served there, and a password is a secret of the swarm's.
            password = self.settings.directory / ".secrets" / "pgpass"
            return [*([f"{password}:{passfile.PATH}:ro,z"] if password.exists() else []), *further]
        file = [self.database_volume] if database.startswith("sqlite:") else []
        return list(
            dict.fromkeys([f"{self.project.name}_artifacts:{self.settings.local_root}", *file, *further])
        )


def _address(ports: Sequence[str]) -> str:
    """Return where the Docker host itself reaches a published port."""
    address, _, port = ports[0].rpartition(":")[0].rpartition(":")
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # To be compared with.
    return f"{loopback.get(address, address)}:{port}"
