# SPDX-License-Identifier: GPL-3.0-or-later
"""A cutover of servers that a swarm runs, from the stack's home, a manager.

The gateways answer 503 with Retry-After where there is no server, so that nothing has to answer in MLflow's place.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import (
    described,
    docker,
    durable_file,
    engine_api,
    files,
    seen,
    steadiness,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.driver import another_password
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import PYTHON
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.served import (
    closed,
    nodes,
    services_of,
    tasks_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import QUESTION, Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import with_environment
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import (
    Progress,
    progress_of,
    verdict,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import login

# The servers' description from before, and below `next` that of after.
DESCRIPTION = "service.json"
# Below `next`: what role mlflow_stack tells servers of another store.
STORED = "server.json"
_LINES = 15
_PAUSE = 0.5
# What a swarm gives a server to end, which role mlflow_stack sets.
_GRACE_SECONDS = 120
# One that hangs, a swarm gives up after 3.5 minutes.
_HANGS_SECONDS = 240
# A name is found a moment after the container that asks has begun.
_NAMED_SECONDS = 10
# Gateways find servers by name and ask them; whatever keeps one of them from it is not the cutover's.
_GATEWAY_SECONDS = 20

# With a login, who asks says who he is: an answer to anybody else may come without the database.
_LOGIN = f"""
import base64, configparser
known = configparser.ConfigParser()
headers = {{}}
if known.read("{login.CREDENTIALS}"):
    named = (known["mlflow"]["mlflow_tracking_" + each] for each in ("username", "password"))
    headers = {{"Authorization": "Basic " + base64.b64encode(":".join(named).encode()).decode()}}
"""
# Asks MLflow until it answers, then the gateways, as long as they may take to know.
_ASK = (
    _LOGIN
    + """
import http.client, socket, ssl, sys, time
seconds, path, gateway, port, host, patience = sys.argv[1:]
def server():
    connection = http.client.HTTPConnection("mlflow", 5000, timeout=10)
    connection.request("GET", path, headers=headers)
    if connection.getresponse().status != 200:
        raise OSError("no server reaches the database yet")
def gateways():
    trusting = ssl._create_unverified_context()
    for address in sorted({each[4][0] for each in socket.getaddrinfo(gateway, int(port), proto=socket.IPPROTO_TCP)}):
        plain = socket.create_connection((address, int(port)), timeout=5)
        connection = http.client.HTTPConnection(address)
        connection.sock = trusting.wrap_socket(plain, server_hostname=host.partition(":")[0])
        connection.request("GET", path, headers={**headers, "Host": host})
        if connection.getresponse().status != 200:
            raise OSError("a gateway knows no server yet")
def ask(question, seconds):
    end = time.monotonic() + seconds
    while True:
        try:
            return question()
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)
ask(server, float(seconds))
if int(port):
    try:
        ask(gateways, float(patience))
    except (OSError, http.client.HTTPException):
        pass
"""
)
_LET_IN, _UNKNOWN = "200", "401"
_ASK_ONCE = (
    _LOGIN
    + """
import http.client, sys
host, path = sys.argv[1:]
connection = http.client.HTTPConnection(host, 5000, timeout=5)
connection.request("GET", path, headers=headers)
print(connection.getresponse().status)
"""
)


class SwarmDriver:
    """`driver.Driver` of a swarm: what is described, the swarm says."""

    rolls = True

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._name = f"{stack.project.name}_mlflow"
        self._seconds = stack.settings.wait_timeout
        self._wanted: described.Description | None = None
        self._changed = False

    def require_steady(self, replicas: int, *, closes: bool) -> None:
        reasons = [*closed(), *steadiness.findings(self._progress(), nodes(), replicas, closes=closes)]
        if reasons:
            raise RefusedError(f"{' '.join(reasons)} Nothing was changed")
        self._require_entry()

    def _require_entry(self) -> None:
        """Require that the servers let the stack in, as which the way back asks them."""
        asker = self._stack.asker
        self._stack.start_tool(asker, (), image=described.image_of(self._described()))
        try:
            # Before it is found by name.
            end = time.monotonic() + _NAMED_SECONDS
            while not (status := _answer_of(asker, "mlflow")) and time.monotonic() < end:
                time.sleep(_PAUSE)
        finally:
            docker.remove(asker)
        if status == _UNKNOWN:
            raise RefusedError(
                f"The servers of {self._name} do not let the stack in: they have a login, or a password of its "
                f"administrator, that {self._stack.settings.directory} does not know. Nothing was changed",
                "A deployment did not end, or was taken back: run site.yml. Or somebody has changed that password in "
                f"MLflow: docker service update --force {self._name} gives the servers the stack's",
            )

    def digest(self) -> str:
        return f"{files.digest(self._stack.settings.directory)} {described.digest(self._described())}"

    def keep(self, directory: Path) -> None:
        _write(directory / DESCRIPTION, self._described())

    def describe(self, following: Path, image: str) -> None:
        before = _read(following.parent / DESCRIPTION)
        _write(following / DESCRIPTION, described.with_image(before, image))

    def describe_store(self, following: Path) -> None:
        told, directory = _read(following / STORED), self._stack.settings.directory
        objects = seen.objects_of_part(self._stack, "mlflow", following)
        before = described.with_store(
            _read(following.parent / DESCRIPTION), told["arguments"], told["environment"]
        )
        wanted = described.with_files(before, objects, seen.provide(self._stack, objects))
        _write(following / DESCRIPTION, wanted)
        environment = with_environment((directory / ".env").read_text(), told["environment"])
        durable_file.write(following / ".env", environment.encode())

    def images(self, archive: Path) -> list[str]:
        return [described.image_of(_read(archive.parent / DESCRIPTION))]

    def install(self, following: Path) -> None:
        # Nothing else changes files.
        if (following / STORED).exists():
            files.install(following, self._stack.settings.directory, needed=files.OF_SWARM)
        self._wanted = _read(following / DESCRIPTION)

    def restore(self, archive: Path, *, credentials: bool) -> None:
        # As `install`: what leaves credentials as they are, changes no files on a swarm.
        if credentials:
            files.restore(archive, self._stack.settings.directory, needed=files.OF_SWARM)
        self._wanted = _read(archive.parent / DESCRIPTION)

    def forget(self, directory: Path) -> None:
        found = [
            each for each in (directory / DESCRIPTION, directory / "next" / DESCRIPTION) if each.exists()
        ]
        made = {each for path in found for each in described.files_of(_read(path))}
        services = services_of(self._stack.project.name, self._stack.settings.directory)
        needed = {each for service in services for each in described.files_of(service["Spec"])}
        for kind, name in sorted(made - needed):
            # Gone already.
            with contextlib.suppress(CutoverError):
                docker.run(kind, "rm", name)

    def jobs(self) -> list[str]:
        # They run on client hosts, and wait for MLflow.
        return []

    def provide_maintenance(self, image: str) -> None:
        """The gateways answer."""

    def close(self) -> float:
        closed_at = time.monotonic()
        engine_api.describe_service(self._name, described.with_replicas(self._described(), 0))
        self._await_end(closed_at + _GRACE_SECONDS + self._seconds)
        return closed_at

    def open(self, directory: Path) -> float:
        present = self._described()
        wanted = self._wanted or described.with_replicas(
            present, described.replicas_of(_read(directory / DESCRIPTION))
        )
        if described.replicas_of(present):
            self._changed = engine_api.describe_service(self._name, wanted)
            self.await_services()
            return time.monotonic()
        asker = self._stack.asker
        self._stack.start_tool(asker, (), image=described.image_of(wanted))
        try:
            engine_api.describe_service(self._name, wanted)
            self._ask(asker, wanted)
            return time.monotonic()
        finally:
            docker.remove(asker)

    def await_services(self) -> None:
        progress = self._progress()
        deadline = time.monotonic() + self._seconds * max(progress.desired, 1) + _HANGS_SECONDS
        while (said := verdict(progress, self._changed)) != "settled":
            if said == "failed":
                raise CutoverError(
                    f"the swarm did not keep what was asked for. {progress}", self._complaints()
                )
            if time.monotonic() > deadline:
                raise CutoverError(f"the servers do not run as described. {progress}", self._complaints())
            time.sleep(_PAUSE)
            progress = self._progress()

    def clients(self) -> Iterator[tuple[str, str]]:
        image = described.image_of(self._described())
        self._stack.start_tool(self._stack.trainer, self._stack.credentials(), image=image)
        yield "the home", self._stack.trainer

    def start_candidate(self, following: Path, options: Sequence[str]) -> None:
        wanted = _read(following / DESCRIPTION)
        name, project = self._stack.candidate, self._stack.project
        docker.remove(name)
        docker.run(
            *("container", "create", f"--name={name}", "--pull=never", "--stop-timeout=2"),
            *docker.RESTRICTED,
            f"--label={LABEL}={self._stack.settings.directory}",
            f"--network={project.networks[0]}",
            *(f"--add-host={each}" for each in project.hosts),
            *(f"--volume={volume}" for volume in self._volumes(following)),
            *described.run_options(wanted),
            *options,
            described.image_of(wanted),
            *described.arguments(wanted),
        )
        # Before it looks for the database.
        for network in project.networks[1:]:
            docker.run("network", "connect", network, name)
        docker.run("container", "start", name)
        docker.wait_until_healthy(name, self._seconds, lambda: _answer_of(name) in (_LET_IN, _UNKNOWN))
        if _answer_of(name) == _UNKNOWN:
            raise another_password(f"docker service update --force {self._name}")

    def _volumes(self, following: Path) -> list[str]:
        """Return the volumes of the next server, which the swarm does not run, in the place of secrets and configs."""
        stack = self._stack
        return stack.volumes(*stack.credentials(following), *stack.login(), *stack.server_login())

    def _described(self) -> described.Description:
        """Return how the servers are described at present."""
        description: described.Description = engine_api.service_of(self._name)["Spec"]
        return description

    def _progress(self) -> Progress:
        return progress_of(engine_api.service_of(self._name), tasks_of(self._name))

    def _await_end(self, deadline: float) -> None:
        """Wait until no server is left: one that goes on would write to a database of the next version."""
        while left := steadiness.left(tasks_of(self._name)):
            if time.monotonic() > deadline:
                names = {node.id: node.hostname for node in nodes()}
                places = ", ".join(sorted({names.get(each, each) for each in left}))
                raise CutoverError(
                    f"{len(left)} servers of {self._name} have not ended, on {places}",
                    "Bring that node back; or, where it is gone for good, forget it (docker node rm --force)",
                )
            time.sleep(_PAUSE)

    def _ask(self, asker: str, wanted: described.Description) -> None:
        """Wait until MLflow answers a question that reaches the database, and the gateways know."""
        gateway, port = f"{self._stack.project.name}_gateway", self._gateway_port()
        origin = described.environment_of(wanted).get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "")
        host = origin.partition("://")[2]
        words = (str(self._seconds), QUESTION, gateway, str(port if host else 0), host, str(_GATEWAY_SECONDS))
        try:
            docker.run("container", "exec", asker, PYTHON, "-c", _ASK, *words)
        except CutoverError as error:
            raise CutoverError(
                f"MLflow did not answer within {self._seconds} s: {error.seen}. {self._progress()}",
                self._complaints(),
            ) from error

    def _gateway_port(self) -> int:
        """Return where the gateways listen in their network; 0 where nobody knows."""
        project = self._stack.project
        shown = services_of(project.name, self._stack.settings.directory)
        ports = [
            port["TargetPort"]
            for each in shown
            if each["Spec"]["Name"] == f"{project.name}_gateway"
            for port in (each["Spec"].get("EndpointSpec") or {}).get("Ports") or ()
        ]
        return int(ports[0]) if ports else 0

    def _complaints(self) -> str:
        """Return the end of the servers' log, as far as there is one."""
        command = ["timeout", "10", "docker", "service", "logs", f"--tail={_LINES}", self._name]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        lines = done.stdout.strip().splitlines()[-_LINES:]
        return "\n".join(["The end of its log:", *lines]) if lines else "It has no log"


def _answer_of(container: str, host: str = "localhost") -> str:
    """Return the status with which a server answers a container's question that reaches the database.

    Empty where it does not answer. No name leads to a candidate, which asks itself.
    """
    try:
        return docker.run("container", "exec", container, PYTHON, "-c", _ASK_ONCE, host, QUESTION).strip()
    except CutoverError:
        return ""


def _read(path: Path) -> described.Description:
    try:
        found: described.Description = json.loads(path.read_text())
    except ValueError as error:
        raise OSError(f"{path} is no JSON: {error}") from error
    return found


def _write(path: Path, description: described.Description) -> None:
    durable_file.write(path, (json.dumps(description, indent=2, sort_keys=True) + "\n").encode())
