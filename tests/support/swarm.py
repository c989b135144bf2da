"""A stack that a swarm of machines serves: its SFTP account, what its inventory says, and clients of its gateways."""

import json
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, ClassVar

from urllib3 import HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.front import SEARCH, Asking, connect
from tests.support.lab import Lab
from tests.support.machines import Machine
from tests.support.sshd import SshServer
from tests.support.stack import passes

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_SERVICE = "mlflow_mlflow"
# Until an engine that was off has started again what the swarm wants there.
_STARTED_SECONDS = 180


class Account(SshServer):
    """An SFTP account that the machines reach, and whose authorized keys it can change itself."""

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory)
        self.host = address


def swarm_variables(
    directory: Path, account: Account, name: str, port: int, replicas: int
) -> dict[str, object]:
    """Return the variables of a site whose stack lies below a directory, behind gateways of a name and port."""
    return {
        "lab_dir": str(directory),
        "sftp_host": "tajo.host.ch",
        "sftp_address": account.host,
        "sftp_port": account.port,
        "sftp_user": account.user,
        "sftp_path": str(account.root / "artifacts"),
        "sftp_host_key_fingerprints": [account.host_key_fingerprint],
        "sftp_private_key_file": str(account.client_key),
        "sftp_target_mode": "hosted",
        "mlflow_stack_engine": "swarm",
        "mlflow_stack_replicas": replicas,
        "mlflow_stack_services": ["mlflow"],
        "mlflow_stack_access": "proxied",
        "mlflow_stack_backend_store": "postgresql",
        "mlflow_stack_dir": str(directory / "stack"),
        "mlflow_stack_extra_hosts": {"tajo.host.ch": account.host},
        "mlflow_stack_workers": 1,
        "mlflow_stack_wait_timeout": 300,
        # No login.
        "mlflow_stack_insecure": True,
        "mlflow_gateway_hostname": name,
        "mlflow_gateway_https_port": port,
        "mlflow_gateway_http_port": 0,
        "mlflow_gateway_tls": "self",
        "mlflow_gateway_authority_dir": str(directory / "gateway"),
    }


def swarm_images(directory: Path, name: str, port: int, **variables: object) -> list[str]:
    """Build what the machines cannot build for themselves; return names of this engine's images, the server's second.

    Args:
        directory: Where the lab goes that describes them.
        name: The lab's.
        port: The first of its ten.
        variables: What the stack is to have beside the servers.
    """
    output = passes(Lab(name, directory / "lab", port).play("tests/playbooks/server_image.yml", **variables))
    (found,) = re.findall(r"images=([^\"]+)\"", output)
    return str(found).split()


@dataclass
class SwarmSite:
    """Three machines, n1 the stack's home, n2 with the database, and an SFTP account on this one.

    Attributes:
        directory: Where inventory, keys and the stack go.
        machines: By name.
        account: Where artifacts go.
        name: The gateways'.
        port: Theirs.
        managers: Names of the machines that manage the swarm.
        settings: Further variables of the site.
    """

    directory: Path
    machines: dict[str, Machine]
    account: Account
    name: str
    port: int
    managers: Sequence[str] = ("n1", "n2")
    settings: dict[str, object] = field(default_factory=dict)

    # Seconds until gateways know that a machine without power answers nobody, and requests that wait for it are over.
    patience: ClassVar[float] = 60

    @property
    def home(self) -> Machine:
        return self.machines["n1"]

    @property
    def stack(self) -> Path:
        return self.directory / "stack"

    def play(self, playbook: str, *options: str, **variables: object) -> Outcome:
        return run_playbook(REPOSITORY / playbook, *self.options(*options, **variables), timeout=1500)

    def options(self, *further: str, **variables: object) -> list[str]:
        """The inventory, options and variables of a playbook."""
        file = self.directory / "hosts.json"
        file.write_text(json.dumps({"all": {"children": self._groups(), "vars": self._variables()}}))
        return ["-i", str(file), *further, "--extra-vars", json.dumps({**self.settings, **variables})]

    def _groups(self) -> dict[str, Any]:
        hosts = {name: each.variables for name, each in self.machines.items()}
        hosts["n2"] = {**hosts["n2"], "docker_swarm_labels": {"mlflow.database": "true"}}
        managers = {name: hosts.pop(name) for name in self.managers}
        return {
            "docker_hosts": {"hosts": {"n1": {}}},
            "swarm_managers": {"hosts": managers},
            "swarm_workers": {"hosts": hosts},
            "sftp_hosts": {"hosts": {"tajo.host.ch": {}}},
        }

    def _variables(self) -> dict[str, object]:
        return swarm_variables(self.directory, self.account, self.name, self.port, 3)

    @contextmanager
    def answer(
        self, machine: str, method: str, path: str, body: bytes | None = None
    ) -> Iterator[HTTPResponse]:
        """What MLflow answers through the gateway of a machine."""
        context = ssl.create_default_context(cafile=str(self.directory / "gateway/ca.crt"))
        address = self.machines[machine].host
        connection = connect(self.name, self.port, context, timeout=self.patience, address=address)
        try:
            headers = {"Host": f"{self.name}:{self.port}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, machine: str, method: str = "GET", path: str = SEARCH, body: Any = None) -> Any:
        """Ask MLflow through the gateway of a machine; return what it says."""
        with self.answer(machine, method, path, json.dumps(body).encode() if body else None) as answer:
            text = answer.read().decode()
            assert answer.status == 200, (machine, answer.status, text)
            return json.loads(text)

    def asking(self, *names: str, a_second: int = 20) -> Asking[float]:
        """Search through these machines many times a second, by ten clients each; answers are seconds."""
        return Asking([(name, Client(self, name).ask) for name in names * 10], a_second)

    def log(self, machine: str) -> str:
        """Log a run with a file; return the path of the file, which holds the run's id, below the artifacts."""
        body = {"experiment_id": "0", "start_time": int(time.time() * 1000)}
        run = self.ask(machine, "POST", f"{_API}/runs/create", body)["run"]["info"]
        path = str(run["artifact_uri"]).removeprefix("mlflow-artifacts:/") + "/run.txt"
        with self.answer(machine, "PUT", f"{_ARTIFACTS}/{path}", run["run_id"].encode()) as answer:
            text = answer.read().decode()
            assert answer.status == 200, (machine, answer.status, text)
        ended = {"run_id": run["run_id"], "status": "FINISHED", "end_time": int(time.time() * 1000)}
        self.ask(machine, "POST", f"{_API}/runs/update", ended)
        return path

    def listed(self, kind: str, *options: str) -> list[str]:
        """Names of what the swarm has of a kind."""
        return self.home.run("docker", kind, "ls", "--format", "{{.Name}}", *options).split()

    def is_served(self) -> bool:
        state = self.home.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}")
        return state == "active" and _SERVICE in self.listed("service")

    def answers(self) -> bool:
        """Whether MLflow answers through each machine."""
        try:
            return all(self.ask(name) for name in self.machines)
        except (OSError, AssertionError):
            return False

    def servers(self, manager: str = "n1") -> dict[str, int]:
        """How many servers a manager knows to run on each machine."""
        shown = ("--filter=desired-state=running", "--format={{.Node}} {{.CurrentState}}")
        told = self.machines[manager].run("docker", "service", "ps", *shown, _SERVICE).splitlines()
        running = [words[0] for line in told if (words := line.split())[1] == "Running"]
        return {name: running.count(name) for name in set(running)}

    def spread(self) -> None:
        """Have a server on each machine; a swarm moves none to one that is back, and knows of that after a while."""
        deadline = time.monotonic() + _STARTED_SECONDS
        while sorted(self.servers().values()) != [1] * len(self.machines):
            assert time.monotonic() < deadline, self.servers()
            # Managers that find each other again may say nothing for a while.
            with suppress(AssertionError):
                for number in (len(self.machines) + 1, len(self.machines)):
                    self.home.run("docker", "service", "scale", f"{_SERVICE}={number}")

    def revive(self) -> None:
        """Have all machines live, the site deployed, and an answer through each gateway."""
        for machine in self.machines.values():
            if not machine.lives:
                machine.start()
                machine.wait_for_engine()
        if not self.is_served():
            passes(self.play("site.yml", "--skip-tags", "verify"))
        deadline = time.monotonic() + _STARTED_SECONDS
        while not self.answers():
            assert time.monotonic() < deadline, "MLflow does not answer through every machine"
            time.sleep(1)

    def build(self, base: str, tag: str, *lines: str) -> str:
        """Build on the home an image that begins as another one; return its name."""
        name = f"freegee/mlflow-server:{tag}"
        text = "\n".join([f"FROM {base}", *lines, ""])
        self.home.run("docker", "build", "--quiet", "--tag", name, "-", text=text)
        return name

    def attach(self, name: str, image: str, *options: str) -> None:
        """Run a container of no service, which does nothing, in the network of the servers."""
        network = ("--network=mlflow_swarm", "--entrypoint=sleep")
        self.home.run("docker", "run", "--detach", f"--name={name}", *network, *options, image, "infinity")


class Client:
    """One who searches through the gateway of a machine, on a connection that is kept, as MLflow's clients keep it."""

    def __init__(self, site: SwarmSite, machine: str) -> None:
        self._pool = HTTPSConnectionPool(
            site.machines[machine].host,
            site.port,
            maxsize=1,
            timeout=site.patience,
            retries=False,
            headers={"Host": f"{site.name}:{site.port}"},
            ca_certs=str(site.directory / "gateway/ca.crt"),
            server_hostname=site.name,
            assert_hostname=site.name,
        )

    def ask(self) -> float:
        """Return the seconds until MLflow had answered."""
        began = time.monotonic()
        try:
            answer = self._pool.request("GET", SEARCH)
        except HTTPError as error:
            raise OSError(type(error).__name__) from error
        assert answer.status == 200, answer.status
        return time.monotonic() - began
