"""A swarm of three machines, made, changed, hurt and dissolved by the playbook.

The tests of this file are steps of one story; each brings the machines to where it begins.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.machines import Machine, machines
from tests.support.stack import fails, passes

pytestmark = [
    pytest.mark.docker,
    pytest.mark.sweep,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

INVENTORY = {"n2": {"docker_swarm_labels": {"mlflow.database": "true"}}}
ROLES = {"n1": "manager", "n2": "manager", "n3": "worker"}
# An engine notices only after 40 s that it has no leader any more.
SILENT_SECONDS = 120


@dataclass
class Site:
    """Three machines, and the inventory that describes them: two managers and a worker."""

    file: Path
    machines: dict[str, Machine]
    managers: list[str] = field(default_factory=lambda: ["n1", "n2"])

    def play(
        self, *options: str, hosts: dict[str, dict[str, Any]] | None = None, **variables: object
    ) -> Outcome:
        wishes = INVENTORY if hosts is None else hosts
        described = {name: {**each.variables, **wishes.get(name, {})} for name, each in self.machines.items()}
        managers = {name: described[name] for name in self.managers}
        workers = {name: each for name, each in described.items() if name not in managers}
        groups = {"swarm_managers": {"hosts": managers}, "swarm_workers": {"hosts": workers}}
        self.file.write_text(json.dumps(groups))
        extra = ("--extra-vars", json.dumps(variables))
        playbook = REPOSITORY / "playbooks/swarm.yml"
        return run_playbook(playbook, "-i", str(self.file), *options, *extra, timeout=300)

    def states(self) -> dict[str, str]:
        """What each engine says of its swarm."""
        return {
            name: each.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}")
            for name, each in self.machines.items()
        }

    def nodes(self, by: str = "n1") -> dict[str, dict[str, Any]]:
        """Nodes by hostname, as a manager shows them."""
        ids = self.machines[by].run("docker", "node", "ls", "--quiet").split()
        shown = json.loads(self.machines[by].run("docker", "node", "inspect", *ids))
        return {each["Description"]["Hostname"]: each for each in shown}

    def is_formed(self) -> bool:
        return set(self.states().values()) == {"active"}

    def form(self) -> None:
        """Have the inventory's swarm, whatever became of the steps before."""
        for machine in self.machines.values():
            if not machine.lives:
                machine.start()
                machine.wait_for_engine()
        if self.machines["n3"].run("docker", "info", "--format", "{{.Swarm.ControlAvailable}}") == "true":
            self.clear()
        passes(self.play())

    def clear(self) -> None:
        """Have no swarm at all."""
        for name, state in self.states().items():
            if state != "inactive":
                self.machines[name].run("docker", "swarm", "leave", "--force")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with machines("mlflow-swarm", "10.79.0", "n1", "n2", "n3") as made:
        yield Site(tmp_path_factory.mktemp("swarm") / "hosts.json", {each.name: each for each in made})


def changes_nothing(output: str) -> bool:
    return "changed=0" in output and not any(f"changed={number}" in output for number in range(1, 10))


def wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SILENT_SECONDS
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def test_everything_that_does_not_fit_is_told_before_anything_changes(site: Site) -> None:
    site.clear()
    wishes = {
        "n1": {"docker_swarm_address": "10.1.2.3"},
        "n3": {"docker_swarm_labels": {"gpu": True}},
    }
    two, three = site.machines["n2"], site.machines["n3"]
    with ExitStack() as stack:
        stack.enter_context(two.firewall("udp", 4789))
        stack.callback(three.set_mtu, 1500)
        three.set_mtu(1400)
        output = fails(site.play(hosts=wishes))
    assert (
        "docker_swarm_address of n1 is 10.1.2.3, which is no address of the host; it has 10.79.0.2" in output
    )
    assert 'write gpu: "true"' in output
    assert "n2 1500, n3 1400" in output
    assert "n2 is not reached at udp/4789 (overlay networks) from n3" in output
    assert "Nothing has been changed" in output
    assert set(site.states().values()) == {"inactive"}


def test_a_swarm_of_others_is_left_alone_and_taken_over_with_consent(site: Site) -> None:
    site.clear()
    three = site.machines["n3"]
    three.run("docker", "swarm", "init", "--advertise-addr", three.host)
    output = fails(site.play())
    assert "n3 manages a swarm" in output
    assert "that is not made by this collection" in output
    assert "docker_swarm_adopt=true" in output
    assert site.states() == {"n1": "inactive", "n2": "inactive", "n3": "active"}
    cluster = three.run("docker", "info", "--format", "{{.Swarm.Cluster.ID}} {{.Swarm.Cluster.Spec.Labels}}")
    assert cluster.endswith(" map[]")
    output = passes(site.play(docker_swarm_adopt=True))
    assert "is taken over as mlflow" in output
    assert {name: each["Spec"]["Role"] for name, each in site.nodes().items()} == ROLES
    one = site.machines["n1"]
    assert one.run("docker", "info", "--format", "{{.Swarm.Cluster.ID}}") == cluster.split()[0]
    assert changes_nothing(passes(site.play()))


def test_a_node_of_another_swarm_is_left_there(site: Site) -> None:
    site.form()
    three = site.machines["n3"]
    three.run("docker", "swarm", "leave")
    three.run("docker", "swarm", "init", "--advertise-addr", three.host)
    output = fails(site.play(docker_swarm_adopt=True))
    assert "n3 is a node of another swarm" in output
    assert "`docker swarm leave --force` on n3" in output
    assert three.run("docker", "node", "ls", "--format", "{{.Hostname}}") == "n3"


def test_check_mode_says_what_would_be_done_and_does_nothing(site: Site) -> None:
    site.clear()
    output = passes(site.play("--check", "--diff"))
    assert "n1 initialises the swarm mlflow at 10.79.0.2." in output
    assert "n2 joins as a manager at 10.79.0.3." in output
    assert "n3 joins as a worker at 10.79.0.4." in output
    assert "n2 gets the label mlflow.database=true." in output
    assert not changes_nothing(output)
    assert set(site.states().values()) == {"inactive"}


def test_the_swarm_is_made(site: Site) -> None:
    site.clear()
    outcome = site.play("-vvv", "--diff")
    output = passes(outcome)
    assert "SWMTKN" not in outcome.output
    assert "swarm_managers holds 2 hosts" in output
    nodes = site.nodes()
    assert {name: each["Spec"]["Role"] for name, each in nodes.items()} == ROLES
    assert nodes["n2"]["Spec"]["Labels"] == {"mlflow.database": "true"}
    assert nodes["n3"]["Status"]["Addr"] == site.machines["n3"].host


def test_a_second_run_changes_nothing(site: Site) -> None:
    site.form()
    assert changes_nothing(passes(site.play()))
    assert changes_nothing(passes(site.play("--check", "--diff")))


def test_what_the_inventory_says_anew_is_changed_at_the_nodes(site: Site) -> None:
    site.form()
    wishes = {
        "n1": {"docker_swarm_availability": "drain"},
        "n3": {"docker_swarm_labels": {"gpu": "true"}},
    }
    output = passes(site.play("--check", hosts=wishes))
    assert "n1 gets the availability drain; it has active." in output
    assert not changes_nothing(output)
    assert site.nodes()["n1"]["Spec"]["Availability"] == "active"
    passes(site.play(hosts=wishes))
    nodes = site.nodes()
    assert nodes["n1"]["Spec"]["Availability"] == "drain"
    assert nodes["n3"]["Spec"]["Labels"] == {"gpu": "true"}
    # What the inventory no longer speaks of stays.
    assert nodes["n2"]["Spec"]["Labels"] == {"mlflow.database": "true"}
    passes(site.play(hosts={"n1": {"docker_swarm_availability": "active"}}))


def test_a_lost_quorum_is_told_and_nothing_is_done(site: Site) -> None:
    site.form()
    two = site.machines["n2"]
    two.kill()
    wait_until(
        lambda: "leader" in site.machines["n1"].run("docker", "info", "--format", "{{.Swarm.Error}}"),
        "n1 still has a leader",
    )
    output = fails(site.play())
    assert "The swarm has lost its quorum: n1 manages it" in output
    assert "n2 could not be asked" in output
    assert f"docker swarm init --force-new-cluster --advertise-addr {site.machines['n1'].host}" in output
    output = fails(site.play(docker_swarm_state="absent"))
    assert "The swarm has lost its quorum" in output
    two.start()
    two.wait_for_engine()
    wait_until(site.is_formed, "the swarm is not back")
    assert changes_nothing(passes(site.play()))


def test_a_swarm_with_services_is_dissolved_with_consent_only(site: Site) -> None:
    site.form()
    one = site.machines["n1"]
    one.run("docker", "service", "create", "--quiet", "--detach", "--no-resolve-image", "--name=shop", "none")
    output = fails(site.play(docker_swarm_state="absent"))
    assert "The swarm has services: shop" in output
    output = fails(site.play(docker_swarm_state="absent", docker_swarm_name="another"))
    assert "the inventory's of the name mlflow; here it is another" in output
    assert site.is_formed()
    consent: dict[str, object] = {"docker_swarm_state": "absent", "docker_swarm_remove_services": True}
    output = passes(site.play("--check", **consent))
    assert "n1 leaves the swarm." in output
    assert site.is_formed()
    passes(site.play(**consent))
    assert set(site.states().values()) == {"inactive"}
    assert changes_nothing(passes(site.play(**consent)))
