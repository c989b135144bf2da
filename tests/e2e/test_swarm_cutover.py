"""MLflow on a swarm gets another version: closed where its schema changes, one server after the other where not.

The tests of this file are steps of one story, on one swarm of two machines; the database is on the one that is not the
stack's home. MLFLOW_UPGRADE_FROM=3.10.1 begins with another version.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.lab import Lab
from tests.support.machines import machines
from tests.support.older_stack import older_image
from tests.support.stack import fails, passes
from tests.support.swarm import Account
from tests.support.swarm_cutover import SERVICE, CutoverSite, outage

pytestmark = [
    pytest.mark.docker,
    pytest.mark.sweep,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

UPGRADE = "playbooks/upgrade.yml"
OLDER = os.environ.get("MLFLOW_UPGRADE_FROM", "3.13.0")
NAME = "mlflow.cutover.example"
PORT = 15300
ANSWERED_SECONDS = 180
TEXTS = [f"artifact {number}" for number in range(6)]

MAKE = """
import mlflow
mlflow.set_experiment("old")
for number in range(6):
    with mlflow.start_run() as run:
        mlflow.log_param("number", number)
        mlflow.log_metric("loss", number / 7)
        mlflow.set_tag("kind", "old")
    print(run.info.run_id, run.info.experiment_id)
"""
READ = """
import json, mlflow
client = mlflow.MlflowClient()
ids = [each.experiment_id for each in client.search_experiments() if each.name == "old"]
runs = client.search_runs(ids)
told = {run.info.run_id: [run.data.params, run.data.metrics, run.data.tags["kind"]] for run in runs}
print(json.dumps(told, sort_keys=True))
"""
READ_TEXTS = """
import json, mlflow
client = mlflow.MlflowClient()
ids = [each.experiment_id for each in client.search_experiments() if each.name == "old"]
texts = [mlflow.artifacts.load_text("runs:/%s/deep/er/text.txt" % run.info.run_id) for run in client.search_runs(ids)]
print(json.dumps(sorted(texts)))
"""
LOG = """
import mlflow
mlflow.set_experiment("since")
with mlflow.start_run():
    mlflow.log_metric("late", 1)
"""


@dataclass(kw_only=True)
class Site(CutoverSite):
    """A site with an older image and the next version's, and what its old runs are."""

    older: str
    next: str
    content: str = ""

    def python(self, code: str, image: str = "") -> str:
        """Run Python beside the servers, on the home, with MLflow's client; returns its last line."""
        network = ("--network=mlflow_swarm", "--env=MLFLOW_TRACKING_URI=http://mlflow:5000")
        command = ("docker", "run", "--rm", *network, image or self.older, "python", "-c", code)
        return self.home.run(*command).splitlines()[-1]

    def fill(self) -> None:
        """Log runs to the older version, which has no artifacts: mlflow-sftp of today does not work with it."""
        command = (
            "docker",
            "run",
            "--rm",
            "--network=mlflow_swarm",
            "--env=MLFLOW_TRACKING_URI=http://mlflow:5000",
        )
        lines = self.home.run(*command, self.older, "python", "-c", MAKE).splitlines()
        made = [words for line in lines if len(words := line.split()) == 2 and len(words[0]) == 32]
        assert len(made) == len(TEXTS), lines
        for text, (run, experiment) in zip(TEXTS, made, strict=True):
            path = self.account.root / "artifacts" / experiment / run / "artifacts/deep/er/text.txt"
            path.parent.mkdir(parents=True)
            path.write_text(text)
        self.content = self.read()

    def read(self) -> str:
        return self.python(READ)

    def texts(self) -> list[str]:
        """What the artifacts of the old runs say, through a server of the next version."""
        return list(json.loads(self.python(READ_TEXTS, self.next)))

    def sql(self, statement: str) -> str:
        """Execute an SQL statement where the database is."""
        machine = self.machines["n2"]
        (container,) = machine.run("docker", "ps", "--quiet", "--filter=name=mlflow_postgres").split()
        return machine.run("docker", "exec", container, "psql", "--no-psqlrc", "-tAc", statement)

    def version(self) -> str:
        """MLflow's, of the first server that the name leads to."""
        return self.python(
            "from urllib.request import urlopen; print(urlopen('http://mlflow:5000/version').read().decode())"
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("cutover")
    lab = Lab("mlflow-cutover", directory / "lab", PORT + 10)
    (found,) = re.findall(r"images=([^\"]+)\"", passes(lab.play("tests/playbooks/server_image.yml")))
    images = str(found).split()
    older = older_image(lab, images[1], OLDER)
    with machines("mlflow-cut", "10.91.0", "n1", "n2") as made:
        # How a playbook brings images to nodes is tried with those that are built on the way.
        for machine in made:
            machine.load(*images, older)
        with Account(directory / "account", made[0].gateway) as account:
            site = Site(
                directory=directory,
                machines={each.name: each for each in made},
                account=account,
                name=NAME,
                port=PORT,
                managers=["n1"],
                older=older,
                next=images[1],
            )
            passes(site.play("site.yml", "--skip-tags", "verify"))
            go_back_to_older(site)
            site.fill()
            yield site


def go_back_to_older(site: Site) -> None:
    """Let the stack begin anew, with an empty database, on the older image: one server makes the tables."""
    identifier = site.home.run("docker", "image", "inspect", "--format={{.Id}}", site.older)
    update = ("docker", "service", "update", "--quiet", "--no-resolve-image")
    site.home.run(*update, "--replicas=0", SERVICE)
    site.sql("DROP SCHEMA public CASCADE")
    site.sql("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    site.home.run(*update, "--replicas=1", f"--image={identifier}", SERVICE)
    site.revive()
    site.home.run(*update, "--replicas=2", SERVICE)


def bring_to_older(site: Site) -> None:
    """Have the older version, whatever became of the steps before."""
    if site.half_done():
        passes(site.play(UPGRADE, resume="undo", discard=True))
    if site.version() != OLDER:
        passes(site.play(UPGRADE, undo=True, discard=True))
    assert site.version() == OLDER
    site.revive()


def bring_to_newer(site: Site) -> None:
    if site.version() == OLDER:
        bring_to_older(site)
        passes(site.play(UPGRADE))
    assert site.version() != OLDER
    site.revive()


def changes_nothing(output: str) -> bool:
    return "changed=0" in output and not re.search(r"changed=[1-9]", output)


def test_site_notices_and_names_the_upgrade(site: Site) -> None:
    bring_to_older(site)
    before = site.description()
    output = fails(site.play("site.yml", "--skip-tags", "verify"))
    assert 'the database\'s schema is "behind" to the MLflow of this collection' in output
    assert "Run playbooks/upgrade.yml" in output
    assert site.description() == before


def test_check_mode_shows_the_plan_and_touches_nothing(site: Site) -> None:
    bring_to_older(site)
    before, records = site.description(), site.records()
    output = passes(site.play(UPGRADE, "--check", "--diff"))
    assert f"From: MLflow {OLDER}" in output
    assert re.search(r"schema \w+ becomes \w+, in \d+ steps", output)
    assert "Expected downtime" in output
    assert "A real run would now close MLflow" in output
    assert site.description() == before
    assert site.records() == records


def test_what_somebody_else_has_changed_is_not_closed(site: Site) -> None:
    bring_to_older(site)
    site.home.run("docker", "service", "scale", f"{SERVICE}=1")
    try:
        output = fails(site.play(UPGRADE))
        assert f"{SERVICE} has 1 servers, and mlflow_stack_replicas is 2: somebody has scaled it" in output
        assert "Nothing was changed" in output
    finally:
        site.home.run("docker", "service", "scale", f"{SERVICE}=2")


def test_a_migration_that_fails_in_the_middle_leaves_everything_as_it_was(site: Site) -> None:
    bring_to_older(site)
    before = site.description()
    # The last of the migrations wants to make it. MLflow's own, since a backup could not read another role's.
    site.sql("SET ROLE mlflow; CREATE TABLE job_locks (id INTEGER)")
    try:
        output = fails(site.play(UPGRADE))
        assert "Migrate the database" in output
        assert "was undone: MLflow answers" in output
        assert site.version() == OLDER
        assert site.description() == before
        assert site.read() == site.content
    finally:
        site.sql("DROP TABLE job_locks")


def test_upgrade(site: Site) -> None:
    bring_to_older(site)
    before = site.description()
    with site.watching() as asking:
        output = passes(site.play(UPGRADE, verify_runs="all"))
    (told,) = re.findall(r"MLflow was closed for ([\d.]+) s", output)
    assert "Read back and compared: 6 runs" in output
    assert site.texts() == TEXTS
    print(
        f"closed for {told} s as told, {outage(asking):.1f} s as asked, {asking.asked} asked, {asking.errors}"
    )
    assert asking.errors == []
    assert outage(asking) < float(told) + 5
    assert site.version() != OLDER
    assert site.read() == site.content
    after = site.description()
    changed = after["TaskTemplate"]["ContainerSpec"].pop("Image")
    assert changed != before["TaskTemplate"]["ContainerSpec"].pop("Image")
    assert after == before
    again = passes(site.play(UPGRADE))
    assert "Nothing to do" in again
    assert changes_nothing(again)


def test_site_goes_on_with_the_upgraded_stack(site: Site) -> None:
    bring_to_newer(site)
    before = site.description()
    assert changes_nothing(passes(site.play("site.yml", "--skip-tags", "verify")))
    assert site.description() == before


def test_undo_takes_consent_where_runs_were_logged_since(site: Site) -> None:
    bring_to_older(site)
    before = site.description()
    passes(site.play(UPGRADE))
    site.python(LOG)
    output = fails(site.play(UPGRADE, undo=True))
    assert "1 runs" in output
    assert "discard=true" in output
    output = passes(site.play(UPGRADE, undo=True, discard=True))
    assert site.version() == OLDER
    assert site.description() == before
    assert site.read() == site.content
    kept = site.stack / "switches" / site.records()[-1]["id"] / "work/database.after"
    assert kept.stat().st_size > 0


@pytest.mark.parametrize(
    ("step", "resume", "after"),
    [
        ("Close MLflow", "finish", 0.5),
        ("Migrate the database", "finish", 0.5),
        ("Try the next server", "undo", 1.0),
        ("Open MLflow", "finish", 2.0),
    ],
)
def test_killed(site: Site, step: str, resume: str, after: float) -> None:
    bring_to_older(site)
    before = site.description()
    site.play_until(step, UPGRADE, after=after)
    passes(site.play(UPGRADE, resume=resume))
    assert (site.version() == OLDER) == (resume == "undo")
    assert site.read() == site.content
    if resume == "undo":
        assert site.description() == before


def other_image(site: Site, tag: str, *lines: str) -> str:
    """Build on the stack's home an image that begins as the next server's; return its name."""
    name = f"freegee/mlflow-server:{tag}"
    text = "\n".join([f"FROM {site.next}", *lines, ""])
    site.home.run("docker", "build", "--quiet", "--tag", name, "-", text=text)
    return name


def test_the_same_schema_closes_nothing(site: Site) -> None:
    bring_to_newer(site)
    before = site.description()
    name = other_image(site, "cutover-next", "LABEL of.the.tests=next")
    output = passes(site.play(UPGRADE, "--check", __mlflow_stack_server_image=name))
    assert "Nothing is closed" in output
    assert "A real run would now replace the servers one after the other" in output
    assert site.description() == before
    with site.watching() as asking:
        output = passes(site.play(UPGRADE, __mlflow_stack_server_image=name))
    assert "MLflow was closed for 0.0 s" in output
    assert asking.errors == []
    assert {each.status for each in asking.answers} == {200}
    assert site.description() != before
    with site.watching() as asking:
        output = passes(site.play(UPGRADE, undo=True, __mlflow_stack_server_image=name))
    assert asking.errors == []
    assert {each.status for each in asking.answers} == {200}
    assert site.description() == before
    assert site.read() == site.content


def test_a_server_that_does_not_start_is_never_served(site: Site) -> None:
    bring_to_newer(site)
    before = site.description()
    bad = other_image(site, "cutover-bad", "USER root", "RUN rm /opt/venv/bin/mlflow", "USER mlflow")
    with site.watching() as asking:
        output = fails(site.play(UPGRADE, __mlflow_stack_server_image=bad))
    assert "Try the next server" in output
    assert "was undone: MLflow answers" in output
    assert asking.errors == []
    assert {each.status for each in asking.answers} == {200}
    assert site.description() == before


def test_a_node_that_is_away_might_go_on_with_a_closed_database(site: Site) -> None:
    bring_to_older(site)
    node = site.home.run("docker", "node", "ls", "--filter=name=n2", "--quiet").split()[0]
    site.machines["n2"].kill()
    try:
        deadline = time.monotonic() + ANSWERED_SECONDS
        while "down" not in site.home.run("docker", "node", "inspect", "--format={{.Status.State}}", node):
            assert time.monotonic() < deadline
            time.sleep(1)
        output = fails(site.play(UPGRADE))
        assert not site.records() or site.records()[-1]["state"] in ("done", "undone")
        assert "n2" in output
    finally:
        site.machines["n2"].start()
        site.machines["n2"].wait_for_engine()
    site.revive()
