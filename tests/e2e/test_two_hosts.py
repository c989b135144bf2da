"""Two Docker hosts in one inventory: what a playbook does for one happens in its own containers and database.

Both are this machine, with a stack each. The first is the controller; the second is reached by ssh on another port,
as a user who has sudo and may not use Docker. The tests of this file share the stacks; each can run alone.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.docker import remove_leftovers
from tests.support.docker_host import docker_host
from tests.support.stack import SWITCH, fails, passes

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1200)]

# How many experiments each host's database gets.
EXPERIMENTS = {"first": 1, "second": 3}
LOCAL: dict[str, object] = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "ansible_become": os.getuid() != 0,
}


@dataclass(frozen=True)
class Hosts:
    """Two Docker hosts, named as in EXPERIMENTS, and the directory that holds all that is theirs.

    `second` is how the second one is reached.
    """

    directory: Path
    second: dict[str, object]

    def inventory(self) -> dict[str, Any]:
        return {
            "docker_hosts": {
                "hosts": {name: self._variables(name) for name in EXPERIMENTS},
                "vars": {
                    "artifact_storage": "local",
                    "mlflow_stack_services": ["mlflow"],
                    "mlflow_stack_workers": 1,
                    "sftp_host": "nowhere.example",
                    "sftp_port": 22,
                    "sftp_user": "nobody",
                    "sftp_path": "/artifacts",
                    "sftp_host_key_fingerprints": ["SHA256:" + "A" * 43],
                    "sftp_client_generate_key": True,
                    "lab_dir": str(self.directory),
                },
            }
        }

    def play(self, playbook: str, *options: str, **variables: object) -> Outcome:
        inventory = self.directory / "hosts.json"
        inventory.write_text(json.dumps(self.inventory()))
        # One after the other: two servers that start at once on a small machine may take too long to be called healthy.
        arguments = ["-i", str(inventory), "--forks", "1", *options, "--extra-vars", json.dumps(variables)]
        return run_playbook(REPOSITORY / playbook, *arguments, timeout=900)

    def ask(self, host: str, method: str, **question: object) -> Any:
        url = f"http://127.0.0.1:{self._port(host)}/api/2.0/mlflow/{method}"
        data = json.dumps(question).encode()
        with urlopen(Request(url, data, {"Content-Type": "application/json"})) as answer:
            return json.load(answer)

    def locations(self, name: str) -> list[str]:
        found = self.ask(name, "experiments/search", max_results=100, view_type="ALL")
        return [experiment["artifact_location"] for experiment in found["experiments"]]

    def created_runs(self, name: str) -> int:
        """How many runs the server of this host was asked to create."""
        return output_of("docker", "logs", f"mlflow-two-{name}-mlflow-1").count("/api/2.0/mlflow/runs/create")

    def _variables(self, name: str) -> dict[str, object]:
        return {
            "mlflow_stack_project": f"mlflow-two-{name}",
            "mlflow_stack_dir": str(self.directory / name),
            "mlflow_stack_port": self._port(name),
            "mlflow_stack_notebook_port": self._port(name) + 1,
            **(LOCAL if name == "first" else self.second),
        }

    def _port(self, name: str) -> int:
        return 13261 + 2 * list(EXPERIMENTS).index(name)


def output_of(*command: str) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    remove_leftovers("mlflow-two")
    # Accounts of its own, which the second host's sshd has, only root can make.
    with docker_host() if os.getuid() == 0 else nullcontext() as second:
        hosts = Hosts(tmp_path_factory.mktemp("two-hosts"), second.variables if second else LOCAL)
        try:
            passes(hosts.play("site.yml", "--skip-tags", "sftp,verify"))
            for name, count in EXPERIMENTS.items():
                for number in range(count):
                    hosts.ask(name, "experiments/create", name=f"experiment {number}")
            yield hosts
        finally:
            passes(hosts.play("playbooks/teardown.yml", keep_data=False))


def test_verify_makes_the_round_trip_in_the_stack_of_each_host(hosts: Hosts) -> None:
    passes(hosts.play("playbooks/verify.yml"))
    assert {name: hosts.created_runs(name) > 0 for name in EXPERIMENTS} == {"first": True, "second": True}
    report = json.loads((hosts.directory / "report/report.json").read_text())
    assert {row["vantage"]: row["ok"] for row in report["rows"]} == {
        "first: Docker host": True,
        "first: mlflow": True,
        "second: Docker host": True,
        "second: mlflow": True,
    }


def test_audit_reads_the_database_of_each_host(hosts: Hosts) -> None:
    passes(hosts.play("playbooks/audit.yml"))
    audits = {name: hosts.directory / f"report/audit-{name}.json" for name in EXPERIMENTS}
    found = {name: json.loads(path.read_text())["locations"] for name, path in audits.items()}
    assert found["second"] - found["first"] == EXPERIMENTS["second"] - EXPERIMENTS["first"]


def test_telemetry_is_off_unless_the_inventory_asks_for_it(hosts: Hosts) -> None:
    container = "mlflow-two-first-mlflow-1"
    asked = "from mlflow.telemetry.utils import is_telemetry_disabled as off; print(off())"
    image = output_of("docker", "inspect", "--format", "{{.Config.Image}}", container).strip()
    for name in (image, image.replace("mlflow-server", "mlflow-client")):
        command = ("docker", "run", "--rm", "--network=none", name, "python", "-c", asked)
        assert output_of(*command).split() == ["True"], name
    with urlopen("http://127.0.0.1:13261/ajax-api/3.0/mlflow/ui-telemetry") as answer:
        assert json.load(answer)["disable_ui_telemetry"] is True
    with urlopen("http://127.0.0.1:13261/") as answer:
        assert b"mlflow.telemetry.info.alert.dismissed_v1" in answer.read()
    assert output_of("docker", "exec", container, "printenv", "MLFLOW_DISABLE_TELEMETRY") == "true\n"
    on = hosts.play("site.yml", "--tags", "stack", "--check", "--diff", mlflow_stack_telemetry=True)
    assert '+ MLFLOW_DISABLE_TELEMETRY: "false"' in passes(on)


def test_a_host_without_a_stack_is_in_the_report(hosts: Hosts) -> None:
    compose = hosts.directory / "second/compose.yml"
    compose.rename(compose.with_suffix(".away"))
    try:
        output = fails(hosts.play("playbooks/verify.yml"))
    finally:
        compose.with_suffix(".away").rename(compose)
    assert "There is nothing to verify" in output
    report = json.loads((hosts.directory / "report/report.json").read_text())
    assert {row["vantage"]: row["ok"] for row in report["rows"]} == {
        "first: Docker host": True,
        "first: mlflow": True,
        "second: Docker host": False,
    }


@pytest.mark.sweep
def test_switch_changes_the_database_of_each_host(hosts: Hosts) -> None:
    before = {name: len(hosts.locations(name)) for name in EXPERIMENTS}
    passes(hosts.play(SWITCH, mlflow_stack_access="proxied"))
    for name in EXPERIMENTS:
        locations = hosts.locations(name)
        assert len(locations) >= before[name]
        assert [place for place in locations if not place.startswith("mlflow-artifacts:/")] == []


def test_the_lab_serves_one_host(hosts: Hosts) -> None:
    inventory = hosts.inventory() | {"lab": {"hosts": dict.fromkeys(EXPERIMENTS)}}
    path = hosts.directory / "two-labs.json"
    path.write_text(json.dumps(inventory))
    output = fails(run_playbook(REPOSITORY / "site.yml", "-i", str(path)))
    assert "The group lab holds first, second" in output
    assert "changed=0" in output
