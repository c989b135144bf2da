"""MLflow on a swarm of three machines: served through any of them, also while one dies or something is changed.

The tests of this file are steps of one story, on one swarm.
"""

import json
import os
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.front import Asking, connect
from tests.support.lab import Lab
from tests.support.machines import Machine, machines
from tests.support.stack import fails, passes
from tests.support.swarm import Account, swarm_variables

pytestmark = [
    pytest.mark.docker,
    pytest.mark.sweep,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

NAME = "mlflow.swarm.example"
PORT = 15200
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
# Seconds until the gateways know that a machine without power answers nobody, and a request that waits for it is over.
LOST_SECONDS = 60
# Until the engine of a machine that was off has started again what the swarm wants there.
STARTED_SECONDS = 180
ASKED_A_SECOND = 10


@dataclass
class Site:
    """Three machines, two of them managers, and an SFTP account on this one."""

    directory: Path
    machines: dict[str, Machine]
    account: Account
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def home(self) -> Machine:
        return self.machines["n1"]

    @property
    def stack(self) -> Path:
        return self.directory / "stack"

    def play(self, playbook: str, *options: str, **variables: object) -> Outcome:
        file = self.directory / "hosts.json"
        file.write_text(json.dumps({"all": {"children": self._groups(), "vars": self._variables()}}))
        extra = ("--extra-vars", json.dumps({**self.settings, **variables}))
        return run_playbook(REPOSITORY / playbook, "-i", str(file), *options, *extra, timeout=1500)

    def _groups(self) -> dict[str, Any]:
        hosts = {name: each.variables for name, each in self.machines.items()}
        hosts["n2"] = {**hosts["n2"], "docker_swarm_labels": {"mlflow.database": "true"}}
        return {
            "docker_hosts": {"hosts": {"n1": {}}},
            "swarm_managers": {"hosts": {name: hosts[name] for name in ("n1", "n2")}},
            "swarm_workers": {"hosts": {"n3": hosts["n3"]}},
            "sftp_hosts": {"hosts": {"tajo.host.ch": {}}},
        }

    def _variables(self) -> dict[str, object]:
        return swarm_variables(self.directory, self.account, NAME, PORT, 3)

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.directory / "gateway/ca.crt"))

    def ask(self, machine: str, method: str = "GET", path: str = SEARCH, body: Any = None) -> Any:
        """Ask MLflow through the gateway of a machine."""
        address = self.machines[machine].host
        connection = connect(NAME, PORT, self.context(), timeout=LOST_SECONDS, address=address)
        try:
            headers = {"Host": f"{NAME}:{PORT}", "Content-Type": "application/json"}
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, (machine, answer.status, text)
            return json.loads(text)
        finally:
            connection.close()

    def asking(self, *names: str) -> Asking[Any]:
        """Ask through these machines many times a second, a connection each."""
        return Asking([(name, partial(self.ask, name)) for name in names], ASKED_A_SECOND)

    def listed(self, kind: str, *options: str) -> list[str]:
        """Names of what the swarm has of a kind."""
        return self.home.run("docker", kind, "ls", "--format", "{{.Name}}", *options).split()

    def is_served(self) -> bool:
        state = self.home.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}")
        return state == "active" and "mlflow_mlflow" in self.listed("service")

    def answers(self) -> bool:
        """Whether MLflow answers through each machine."""
        try:
            return all(self.ask(name) for name in self.machines)
        except (OSError, AssertionError):
            return False

    def servers(self) -> dict[str, int]:
        """How many servers run on each machine."""
        lines = self.home.run(
            "docker", "service", "ps", "--filter=desired-state=running", "--format={{.Node}}", "mlflow_mlflow"
        ).split()
        return {name: lines.count(name) for name in set(lines)}

    def spread(self) -> None:
        """Have a server on each machine; a swarm moves none to a machine that is back."""
        if len(self.servers()) < len(self.machines):
            for number in (len(self.machines) + 1, len(self.machines)):
                self.home.run("docker", "service", "scale", f"mlflow_mlflow={number}")
        assert set(self.servers().values()) == {1}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the images that the swarm runs, on this machine's engine."""
    lab = Lab("mlflow-serve", tmp_path_factory.mktemp("images") / "lab", PORT + 10)
    output = passes(lab.play("tests/playbooks/server_image.yml"))
    (found,) = re.findall(r"images=([^\"]+)\"", output)
    return str(found).split()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, images: list[str]) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("serving")
    with machines("mlflow-serve", "10.81.0", "n1", "n2", "n3") as made:
        made[0].load(*images)
        with Account(directory / "account", made[0].gateway) as account:
            yield Site(directory, {each.name: each for each in made}, account)


@pytest.fixture
def served(site: Site) -> Site:
    """What the steps after the first begin with: all machines live, and all servers answer."""
    for machine in site.machines.values():
        if not machine.lives:
            machine.start()
            machine.wait_for_engine()
    if not site.is_served():
        passes(site.play("site.yml", "--skip-tags", "verify"))
    deadline = time.monotonic() + STARTED_SECONDS
    while not site.answers():
        assert time.monotonic() < deadline, "MLflow does not answer through every machine"
        time.sleep(1)
    return site


def changes_nothing(output: str) -> bool:
    return "changed=0" in output and not re.search(r"changed=[1-9]", output)


def test_everything_that_does_not_fit_is_told_before_anything_changes(site: Site) -> None:
    wrong: dict[str, object] = {
        "mlflow_stack_backend_store": "sqlite",
        "artifact_storage": "local",
        "mlflow_stack_services": ["mlflow", "notebook"],
        "mlflow_gateway_hostname": "",
    }
    output = fails(site.play("site.yml", **wrong))
    assert "mlflow_stack_backend_store is SQLite, a file on one node" in output
    assert "3 at once" in output
    assert "artifact_storage is local" in output
    assert "mlflow_stack_services is mlflow, notebook; a swarm serves mlflow" in output
    assert "mlflow_gateway_hostname is empty" in output
    assert "Nothing has been changed" in output
    assert site.home.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    assert not site.stack.exists()


def test_check_mode_on_fresh_machines_says_what_would_be_done_and_does_nothing(site: Site) -> None:
    output = passes(site.play("site.yml", "--check", "--diff", "--skip-tags", "verify"))
    assert "n1 initialises the swarm mlflow" in output
    assert "Would serve mlflow, gateway, postgres on the swarm, 3 servers" in output
    assert site.home.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    assert not site.stack.exists()


def test_mlflow_is_served_through_every_machine(site: Site) -> None:
    outcome = site.play("site.yml", "-v", "--diff")
    passes(outcome)
    password = (site.stack / ".secrets/postgres_password").read_text()
    assert password not in outcome.output
    assert password not in site.home.run("docker", "service", "inspect", *site.listed("service"))
    assert sum(site.servers().values()) == 3
    for name in site.machines:
        assert site.ask(name)["experiments"]
    report = json.loads((site.directory / "report/report.json").read_text())
    assert all(row["ok"] for row in report["rows"])


def test_a_second_run_changes_nothing(served: Site) -> None:
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))
    assert changes_nothing(passes(served.play("site.yml", "--check", "--diff", "--skip-tags", "verify")))


def test_a_part_of_a_run_is_refused_for_what_a_whole_one_is(served: Site) -> None:
    for tags in ("stack", "docker"):
        output = fails(served.play("site.yml", "--tags", tags, mlflow_stack_monitor=True))
        assert "mlflow_stack_monitor is on, and does not run on a swarm yet" in output
        assert changes_nothing(output)
    output = fails(served.play("site.yml", "--skip-tags", "verify", "--limit", "n1,tajo.host.ch"))
    assert (
        "is ready and active, and is no host of swarm_managers or swarm_workers that could be asked" in output
    )
    assert changes_nothing(output)


def test_a_database_does_not_begin_anew_on_another_node(served: Site) -> None:
    # As where the label moves, except that the database that runs keeps its own.
    node = served.home.run("docker", "node", "ls", "--filter=name=n3", "--quiet").split()[0]
    output = fails(served.play("site.yml", "--skip-tags", "verify", mlflow_stack_database_label="elsewhere"))
    assert "No node has the label elsewhere" in output
    served.home.run("docker", "node", "update", "--label-add", "elsewhere=true", node)
    try:
        output = fails(
            served.play("site.yml", "--skip-tags", "verify", mlflow_stack_database_label="elsewhere")
        )
        assert "n3 has the label elsewhere, and lacks the volume mlflow_swarm_postgres" in output
        assert "which is on n2" in output
    finally:
        served.home.run("docker", "node", "update", "--label-rm", "elsewhere", node)
    assert "mlflow_swarm_postgres" not in served.machines["n3"].run("docker", "volume", "ls", "--quiet")


def test_a_drained_node_need_not_answer(served: Site) -> None:
    node = served.home.run("docker", "node", "ls", "--filter=name=n3", "--quiet").split()[0]
    served.home.run("docker", "node", "update", "--availability=drain", node)
    try:
        passes(served.play("playbooks/verify.yml", verify_level="quick"))
    finally:
        served.home.run("docker", "node", "update", "--availability=active", node)


def test_what_works_with_compose_alone_refuses(served: Site) -> None:
    for playbook in ("storage_switch", "restore", "database_move", "tidy", "audit"):
        output = fails(served.play(f"playbooks/{playbook}.yml"))
        assert "works with Docker Compose only" in output
        assert "Nothing has been changed" in output


def test_compose_does_not_take_over_what_a_swarm_serves(served: Site) -> None:
    compose = {"mlflow_stack_engine": "compose", "mlflow_stack_replicas": 1}
    output = fails(served.play("site.yml", "--skip-tags", "verify", **compose))
    assert "has a stack that a swarm serves, and no playbook moves one to Docker Compose yet" in output
    assert changes_nothing(output)


def test_a_machine_without_power_takes_no_other_with_it(served: Site) -> None:
    served.spread()
    before = served.ask("n1", "POST", "/api/2.0/mlflow/experiments/create", {"name": "before"})
    with served.asking("n1", "n2") as asking:
        time.sleep(5)
        served.machines["n3"].kill()
        time.sleep(LOST_SECONDS)
    # Those that the machine was answering.
    assert len(asking.errors) <= 4, asking.errors
    assert asking.asked > 100
    shown = served.ask("n2", path=f"/api/2.0/mlflow/experiments/get?experiment_id={before['experiment_id']}")
    assert shown["experiment"]["name"] == "before"


def image(site: Site, images: list[str], tag: str, *lines: str) -> str:
    """Build on the stack's home an image that begins as the server's; return its name."""
    name = f"freegee/mlflow-server:{tag}"
    text = "\n".join([f"FROM {images[1]}", *lines, ""])
    site.home.run("docker", "build", "--quiet", "--tag", name, "-", text=text)
    return name


def test_another_image_comes_without_a_failed_request(served: Site, images: list[str]) -> None:
    name = image(served, images, "next", "LABEL of.the.tests=next")
    served.settings["__mlflow_stack_server_image"] = name
    output = passes(served.play("site.yml", "--check", "--diff", "--skip-tags", "verify"))
    assert not changes_nothing(output)
    with served.asking(*served.machines) as asking:
        passes(served.play("site.yml", "--skip-tags", "verify"))
    assert asking.errors == []
    assert asking.asked > 100
    identifier = served.home.run("docker", "image", "inspect", "--format={{.Id}}", name)
    shown = json.loads(served.home.run("docker", "service", "inspect", "mlflow_mlflow"))[0]
    assert shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == identifier
    assert shown["UpdateStatus"]["State"] == "completed"


def test_an_image_that_does_not_start_is_rolled_back_by_the_swarm(served: Site, images: list[str]) -> None:
    before = json.loads(served.home.run("docker", "service", "inspect", "mlflow_mlflow"))[0]
    bad = image(served, images, "bad", "USER root", "RUN rm /opt/venv/bin/mlflow", "USER mlflow")
    with served.asking(*served.machines) as asking:
        output = fails(served.play("site.yml", "--skip-tags", "verify", __mlflow_stack_server_image=bad))
    assert "The swarm did not keep what was asked for" in output
    assert "rollback_completed" in output
    assert asking.errors == []
    after = json.loads(served.home.run("docker", "service", "inspect", "mlflow_mlflow"))[0]
    assert after["Spec"]["TaskTemplate"]["ContainerSpec"] == before["Spec"]["TaskTemplate"]["ContainerSpec"]
    passes(served.play("site.yml", "--skip-tags", "verify"))


def test_another_certificate_is_another_secret_and_the_old_one_goes(served: Site) -> None:
    before = set(served.listed("secret"))
    (served.directory / "gateway" / f"{NAME}.key").unlink()
    (served.directory / "gateway" / f"{NAME}.crt").unlink()
    passes(served.play("site.yml", "--skip-tags", "verify"))
    after = set(served.listed("secret"))
    assert [name.rpartition("_")[0] for name in after - before] == ["mlflow_certificate.pem"]
    assert len(before - after) == 1
    for name in served.machines:
        assert served.ask(name)["experiments"]


def test_teardown_leaves_nothing(served: Site) -> None:
    output = fails(served.play("playbooks/teardown.yml", "--limit", "n1", keep_data=False))
    assert "--limit leaves out n2, n3, where the database's volume may be" in output
    passes(served.play("playbooks/teardown.yml", "--check", keep_data=False))
    assert served.listed("service")
    passes(served.play("playbooks/teardown.yml", keep_data=False))
    for kind in ("service", "secret", "config"):
        assert served.listed(kind) == []
    assert served.listed("network", "--filter=driver=overlay") == ["ingress"]
    for machine in served.machines.values():
        assert machine.run("docker", "volume", "ls", "--quiet") == ""
        # Containers end a moment after their services.
        deadline = time.monotonic() + LOST_SECONDS
        while machine.run("docker", "ps", "--all", "--quiet"):
            assert time.monotonic() < deadline, machine.name
            time.sleep(1)
    assert not served.stack.exists()
