"""MLflow on a swarm of three machines: served through any of them, also while one dies or something is changed.

The tests of this file are steps of one story, on one swarm.
"""

import json
import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.support.machines import machines
from tests.support.monitor import eventually
from tests.support.stack import fails, passes
from tests.support.swarm import Account, SwarmSite, swarm_images

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

NAME = "mlflow.swarm.example"
PORT = 15200

# Of another host: a server that trusts everybody.
_OUTSIDE = """
cd /tmp
programs=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb)")
"$programs/initdb" --pgdata=data --auth=trust --username=postgres
echo "host all all all trust" >>data/pg_hba.conf
exec "$programs/postgres" -D data -c listen_addresses='*' -k /tmp
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the images that the swarm runs, on this machine's engine."""
    return swarm_images(tmp_path_factory.mktemp("images"), "mlflow-serve", PORT + 10)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, images: list[str]) -> Iterator[SwarmSite]:
    directory = tmp_path_factory.mktemp("serving")
    with machines("mlflow-serve", "10.81.0", "n1", "n2", "n3") as made:
        # How they come to nodes that lack them, another image shows.
        for machine in made:
            machine.load(*images)
        with Account(directory / "account", made[0].gateway) as account:
            yield SwarmSite(directory, {each.name: each for each in made}, account, NAME, PORT)


@pytest.fixture
def served(site: SwarmSite) -> SwarmSite:
    """What the steps after the first begin with: all machines live, and all servers answer."""
    site.revive()
    return site


def changes_nothing(output: str) -> bool:
    return "changed=0" in output and not re.search(r"changed=[1-9]", output)


@pytest.mark.sweep
def test_everything_that_does_not_fit_is_told_before_anything_changes(site: SwarmSite) -> None:
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


@pytest.mark.sweep
def test_check_mode_on_fresh_machines_says_what_would_be_done_and_does_nothing(site: SwarmSite) -> None:
    output = passes(site.play("site.yml", "--check", "--diff", "--skip-tags", "verify"))
    assert "n1 initialises the swarm mlflow" in output
    assert "Would serve mlflow, gateway, postgres on the swarm, 3 servers" in output
    assert site.home.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    assert not site.stack.exists()


def test_mlflow_is_served_through_every_machine(site: SwarmSite) -> None:
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


@pytest.mark.sweep
def test_a_second_run_changes_nothing(served: SwarmSite) -> None:
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))
    assert changes_nothing(passes(served.play("site.yml", "--check", "--diff", "--skip-tags", "verify")))


@pytest.mark.sweep
def test_a_part_of_a_run_is_refused_for_what_a_whole_one_is(served: SwarmSite) -> None:
    for tags in ("stack", "docker"):
        output = fails(served.play("site.yml", "--tags", tags, mlflow_stack_monitor=True))
        assert "mlflow_stack_monitor is on, and does not run on a swarm yet" in output
        assert changes_nothing(output)
    output = fails(served.play("site.yml", "--skip-tags", "verify", "--limit", "n1,tajo.host.ch"))
    assert (
        "is ready and active, and is no host of swarm_managers or swarm_workers that could be asked" in output
    )
    assert changes_nothing(output)


@pytest.mark.sweep
def test_a_database_does_not_begin_anew_on_another_node(served: SwarmSite) -> None:
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


@pytest.mark.sweep
def test_a_drained_node_need_not_answer(served: SwarmSite) -> None:
    node = served.home.run("docker", "node", "ls", "--filter=name=n3", "--quiet").split()[0]
    served.home.run("docker", "node", "update", "--availability=drain", node)
    try:
        passes(served.play("playbooks/verify.yml", verify_level="quick"))
    finally:
        served.home.run("docker", "node", "update", "--availability=active", node)


@pytest.mark.sweep
def test_a_node_from_which_the_store_is_out_of_reach_is_named(served: SwarmSite) -> None:
    served.spread()
    with served.machines["n3"].firewall("tcp", served.account.port, "FORWARD"):
        output = fails(served.play("playbooks/verify.yml"))
    assert "n3: mlflow_mlflow on this node cannot use the store, whatever other nodes can: " in output
    assert "n1: mlflow_mlflow on this node" not in output
    passes(served.play("playbooks/verify.yml"))


@pytest.mark.sweep
def test_a_database_elsewhere_takes_the_place_of_the_own_one_and_gives_it_back(
    served: SwarmSite, images: list[str]
) -> None:
    run = served.log("n1")
    (image,) = [name for name in images if "postgres" in name]
    options = ("--name=outside", "--publish=15432:5432", "--user=postgres", "--entrypoint=sh")
    served.home.run("docker", "run", "--detach", *options, image, "-euc", _OUTSIDE)
    elsewhere = f"postgresql://postgres@{served.home.host}:15432/postgres"
    switched = {"mlflow_stack_backend_store_switch": True}
    try:
        output = fails(served.play("site.yml", "--skip-tags", "verify", mlflow_stack_backend_store=elsewhere))
        assert "No playbook moves what a swarm serves" in output
        outside = {"mlflow_stack_backend_store": elsewhere}
        passes(served.play("site.yml", "--skip-tags", "verify", **outside, **switched))
        assert "mlflow_postgres" not in served.listed("service")
        # An engine shows it until it has tidied up after the tasks that ended.
        eventually(lambda: "mlflow_swarm_database" not in served.listed("network"), 120)
        assert "mlflow_swarm_postgres" in served.machines["n2"].run("docker", "volume", "ls", "--quiet")
        assert served.log("n3") != run
        assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify", **outside)))
    finally:
        passes(served.play("site.yml", "--skip-tags", "verify", **switched))
        served.home.run("docker", "rm", "--force", "outside")
    identifier = run.split("/")[1]
    shown = served.ask("n2", path=f"/api/2.0/mlflow/runs/get?run_id={identifier}")
    assert shown["run"]["info"]["status"] == "FINISHED"


@pytest.mark.sweep
def test_what_works_with_compose_alone_refuses(served: SwarmSite) -> None:
    for playbook in ("database_move", "database_prune", "storage_prune", "audit"):
        output = fails(served.play(f"playbooks/{playbook}.yml"))
        assert "works with Docker Compose only" in output
        assert "Nothing has been changed" in output


@pytest.mark.sweep
def test_compose_does_not_take_over_what_a_swarm_serves(served: SwarmSite) -> None:
    compose = {"mlflow_stack_engine": "compose", "mlflow_stack_replicas": 1}
    output = fails(served.play("site.yml", "--skip-tags", "verify", **compose))
    assert "has a stack that a swarm serves, and no playbook moves one to Docker Compose yet" in output
    assert changes_nothing(output)


def test_a_machine_without_power_takes_no_other_with_it(served: SwarmSite) -> None:
    served.spread()
    before = served.ask("n1", "POST", "/api/2.0/mlflow/experiments/create", {"name": "before"})
    with served.asking("n1", "n2") as asking:
        time.sleep(5)
        served.machines["n3"].kill()
        time.sleep(SwarmSite.patience)
    # Those that the machine was answering.
    assert len(asking.errors) <= 4, asking.errors
    assert asking.asked > 100
    shown = served.ask("n2", path=f"/api/2.0/mlflow/experiments/get?experiment_id={before['experiment_id']}")
    assert shown["experiment"]["name"] == "before"


@pytest.mark.sweep
def test_another_image_comes_without_a_failed_request(served: SwarmSite, images: list[str]) -> None:
    name = served.build(images[1], "next", "LABEL of.the.tests=next")
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


@pytest.mark.sweep
def test_an_image_that_does_not_start_is_rolled_back_by_the_swarm(
    served: SwarmSite, images: list[str]
) -> None:
    before = json.loads(served.home.run("docker", "service", "inspect", "mlflow_mlflow"))[0]
    bad = served.build(images[1], "bad", "USER root", "RUN rm /opt/venv/bin/mlflow", "USER mlflow")
    with served.asking(*served.machines) as asking:
        output = fails(served.play("site.yml", "--skip-tags", "verify", __mlflow_stack_server_image=bad))
    assert "The swarm did not keep what was asked for" in output
    assert "rollback_completed" in output
    assert asking.errors == []
    after = json.loads(served.home.run("docker", "service", "inspect", "mlflow_mlflow"))[0]
    assert after["Spec"]["TaskTemplate"]["ContainerSpec"] == before["Spec"]["TaskTemplate"]["ContainerSpec"]
    passes(served.play("site.yml", "--skip-tags", "verify"))


@pytest.mark.sweep
def test_another_certificate_is_another_secret_and_the_old_one_goes(served: SwarmSite) -> None:
    before = set(served.listed("secret"))
    (served.directory / "gateway" / f"{NAME}.key").unlink()
    (served.directory / "gateway" / f"{NAME}.crt").unlink()
    passes(served.play("site.yml", "--skip-tags", "verify"))
    after = set(served.listed("secret"))
    assert [name.rpartition("_")[0] for name in after - before] == ["mlflow_certificate.pem"]
    assert len(before - after) == 1
    for name in served.machines:
        assert served.ask(name)["experiments"]


def test_teardown_leaves_nothing(served: SwarmSite, images: list[str]) -> None:
    output = fails(served.play("playbooks/teardown.yml", "--limit", "n1", keep_data=False))
    assert "--limit leaves out n2, n3, where the database's volume may be" in output
    passes(served.play("playbooks/teardown.yml", "--check", keep_data=False))
    assert served.listed("service")
    # A cutover that was killed leaves such a container, which keeps the network.
    owner = f"freegee.mlflow_sftp.owner={served.stack}"
    served.attach("mlflow-storage-ask", images[1], f"--label={owner}")
    passes(served.play("playbooks/teardown.yml", keep_data=False))
    for kind in ("service", "secret", "config"):
        assert served.listed(kind) == []
    assert served.listed("network", "--filter=driver=overlay") == ["ingress"]
    for machine in served.machines.values():
        assert machine.run("docker", "volume", "ls", "--quiet") == ""
        # Containers end a moment after their services.
        deadline = time.monotonic() + SwarmSite.patience
        while machine.run("docker", "ps", "--all", "--quiet"):
            assert time.monotonic() < deadline, machine.name
            time.sleep(1)
    assert not served.stack.exists()
