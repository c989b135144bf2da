"""A client host beside the stack's own: another machine, whose services use the server through its front door.

The tests of this file are steps of one story, on one stack.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import Outcome
from tests.support.lab import Lab
from tests.support.link import Link
from tests.support.machines import Machine, images_of, machines
from tests.support.stack import SWITCH, fails, passes

pytestmark = [
    pytest.mark.lab,
    pytest.mark.sweep,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes another machine out of namespaces"),
]

HOSTNAME = "mlflow.clients.example"
LOG = (
    "import mlflow; run = mlflow.start_run(); mlflow.log_text('from afar', 'a.txt'); mlflow.end_run();"
    "print(mlflow.artifacts.load_text(f'runs:/{run.info.run_id}/a.txt'), run.info.artifact_uri)"
)


@dataclass(frozen=True)
class Site:
    """The lab with a server alone, and the machine beside it."""

    lab: Lab
    machine: Machine
    server: dict[str, object]

    @property
    def directory(self) -> Path:
        return self.lab.directory.parent / "client"

    def inventory(self, clients: bool = True, client: dict[str, object] | None = None) -> dict[str, Any]:
        own = {
            **self.machine.variables,
            "mlflow_stack_dir": str(self.directory),
            "mlflow_stack_services": ["mlflow", "notebook", "experiment-service", "train"],
            "mlflow_stack_network": "",
            "mlflow_stack_extra_hosts": {
                HOSTNAME: self.machine.gateway,
                "tajo.host.ch": self.machine.gateway,
            },
            "sftp_address": self.machine.gateway,
            **(client or {}),
        }
        hosts = {"docker_hosts": {"hosts": {"docker-host": self.server}}}
        return hosts | ({"mlflow_clients": {"hosts": {"gpu": own}}} if clients else {})

    def play(
        self, playbook: str, *options: str, inventory: dict[str, Any] | None = None, **variables: object
    ) -> Outcome:
        file = self.lab.directory.parent / "hosts.json"
        file.write_text(json.dumps(inventory or self.inventory()))
        return self.lab.play(playbook, "-i", "inventories/lab", "-i", str(file), *options, **variables)

    def compose(self, *arguments: str) -> str:
        return self.machine.run("docker", "compose", "--project-directory", str(self.directory), *arguments)

    def log(self) -> list[str]:
        """Log an artifact from the client host; return what is read back, and where it lies."""
        answer = self.compose("exec", "-T", "experiment-service", "python", "-c", LOG)
        return answer.splitlines()[-1].rsplit(" ", 1)

    def secrets(self) -> set[str]:
        """Names of all files below the stack's secrets on the client host."""
        listed = self.machine.run("find", str(self.directory / ".secrets"), "-type", "f", "-printf", "%P\\n")
        return set(listed.split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lab = Lab("mlflow-clients", tmp_path_factory.mktemp("clients") / "lab", 16300)
    server: dict[str, object] = {
        "mlflow_stack_services": ["mlflow"],
        "mlflow_stack_auth": "basic",
        "mlflow_stack_access": "proxied",
        "mlflow_gateway_hostname": HOSTNAME,
        "mlflow_gateway_https_port": 16303,
        "mlflow_gateway_http_port": 0,
    }
    with (
        lab.cleared(),
        machines("mlflow-client", "10.78.0", "gpu") as (machine,),
        Link(lab.port, address=machine.gateway, port=lab.port),
    ):
        site = Site(lab, machine, server)
        passes(site.play("site.yml", "--skip-tags", "verify", inventory=site.inventory(clients=False)))
        machine.load(*images_of(f"{lab.name}-mlflow-1"))
        yield site


@pytest.mark.parametrize(
    ("server", "client", "finding"),
    [
        ({"mlflow_gateway_hostname": ""}, {}, "docker-host has no front door"),
        ({"artifact_storage": "local", "mlflow_stack_access": "direct"}, {}, "which gpu cannot see"),
        ({}, {"mlflow_stack_server_host": "gone"}, "which is none of docker_hosts"),
        ({}, {"mlflow_stack_devices": [{"driver": "nvidia"}]}, "has no list of capabilities"),
    ],
)
def test_bad_inventories_are_refused_before_anything_changes(
    site: Site, server: dict[str, object], client: dict[str, object], finding: str
) -> None:
    inventory = site.inventory(client=client)
    inventory["docker_hosts"]["hosts"]["docker-host"] = site.server | server
    output = fails(site.play("site.yml", inventory=inventory))
    assert finding in output
    assert "Nothing has been changed" in output
    # Namespaces share the disk.
    assert not site.directory.exists()


def test_a_client_host_is_deployed_and_verified(site: Site) -> None:
    passes(site.play("site.yml"))
    report = json.loads((site.lab.directory / "report/report.json").read_text())
    vantages = {row["vantage"]: row["ok"] for row in report["rows"]}
    for service in ("notebook", "experiment-service", "train"):
        assert vantages[f"gpu: {service}"] is True
    assert all(vantages.values())
    text, uri = site.log()
    assert (text, uri.partition(":")[0]) == ("from afar", "mlflow-artifacts")


def test_it_holds_the_login_of_its_services_and_no_key(site: Site) -> None:
    logins = {f"mlflow_login/{name}" for name in ("notebook", "experiment-service", "train")}
    assert site.secrets() == logins | {"notebook_token", "pip.conf", "server_ca.pem"}
    assert "BACKEND_STORE" not in site.machine.run("cat", str(site.directory / ".env"))


def test_a_second_run_changes_nothing(site: Site) -> None:
    output = passes(site.play("site.yml", "--skip-tags", "verify"))
    assert "changed=0" in output
    assert "changed=1" not in output


def test_a_switch_is_refused_while_jobs_may_run_there(site: Site) -> None:
    output = fails(site.play(SWITCH, mlflow_stack_access="direct"))
    assert "gpu runs" in output
    assert "Stop them" in output
    output = fails(site.play(SWITCH, artifact_storage="local", mlflow_stack_access="direct"))
    assert "which gpu cannot see" in output
    output = fails(
        site.play(SWITCH, "--limit", "docker-host,localhost,tajo.host.ch", mlflow_stack_access="direct")
    )
    assert "Nobody could ask gpu" in output


def test_direct_access_brings_the_key_and_goes_past_the_server(site: Site) -> None:
    site.compose("stop")
    passes(site.play(SWITCH, mlflow_stack_access="direct"))
    site.server["mlflow_stack_access"] = "direct"
    passes(site.play("site.yml"))
    assert "mlflow_sftp_key/id_ed25519" in site.secrets()
    text, uri = site.log()
    assert (text, uri.partition(":")[0]) == ("from afar", "sftp")


def test_proxied_access_takes_the_key_away(site: Site) -> None:
    site.compose("stop")
    passes(site.play(SWITCH, mlflow_stack_access="proxied"))
    site.server["mlflow_stack_access"] = "proxied"
    passes(site.play("site.yml", "--skip-tags", "verify"))
    assert not [name for name in site.secrets() if name.startswith("mlflow_sftp_key")]
    assert site.log()[0] == "from afar"


def test_teardown_removes_the_client_host_as_well(site: Site) -> None:
    passes(site.play("playbooks/teardown.yml", keep_data=False))
    assert site.machine.run("docker", "ps", "--all", "--quiet") == ""
    assert site.machine.run("docker", "volume", "ls", "--quiet") == ""
    assert not site.directory.exists()
