"""The store of a stack that a swarm serves is switched: another access, another SFTP account, a part, and back.

The tests of this file are steps of one story, on one swarm of two machines with two SFTP accounts; the database is on
the machine that is not the stack's home. Each brings the stack to where it begins: it can run alone.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.machines import machines
from tests.support.stack import SWITCH, fails, passes
from tests.support.swarm import Account, swarm_images
from tests.support.swarm_cutover import SERVICE, CutoverSite, outage

pytestmark = [
    pytest.mark.docker,
    pytest.mark.sweep,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

NAME = "mlflow.switch.example"
PORT = 15760
PROXY = "mlflow-artifacts:/"
RUNS = 12

MAKE = """
import os, sys, mlflow
mlflow.set_experiment(sys.argv[1])
for number in range(int(sys.argv[2])):
    with mlflow.start_run() as run:
        mlflow.log_param("number", number)
        mlflow.log_text("%s %s" % (sys.argv[1], number), "deep/er/text.txt")
        with open("/tmp/bytes", "wb") as file:
            file.write(os.urandom(1 << 16))
        mlflow.log_artifact("/tmp/bytes")
"""
READ = """
import hashlib, json, pathlib, sys, mlflow
client = mlflow.MlflowClient()
ids = [each.experiment_id for each in client.search_experiments() if each.name == sys.argv[1]]
told = {}
for run in client.search_runs(ids):
    files = sorted(pathlib.Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id)).rglob("*"))
    held = [(each.name, hashlib.sha256(each.read_bytes()).hexdigest()) for each in files if each.is_file()]
    told[run.info.run_id] = [run.data.params, held]
print(json.dumps(told, sort_keys=True))
"""
ROOTS = """
import json, mlflow
client = mlflow.MlflowClient()
runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
print(json.dumps(sorted(run.info.artifact_uri for run in runs)))
"""


@dataclass(kw_only=True)
class Site(CutoverSite):
    """A site with another SFTP account, and what its old runs are; `image` is the servers'."""

    accounts: tuple[Account, Account]
    image: str
    content: str = ""

    def at(self, account: int, access: str, path: str = "artifacts") -> dict[str, object]:
        """What the inventory says of a store."""
        own = self.accounts[account]
        return {
            "mlflow_stack_access": access,
            "sftp_port": own.port,
            "sftp_path": str(own.root / path),
            "sftp_host_key_fingerprints": [own.host_key_fingerprint],
            "sftp_private_key_file": str(own.client_key),
        }

    def python(self, code: str, *arguments: str) -> str:
        """Run Python beside the servers, on the home, with MLflow's client and the account's key; its last line."""
        command = ["docker", "run", "--rm", "--network=mlflow_swarm"]
        command += ["--env=MLFLOW_TRACKING_URI=http://mlflow:5000"]
        command += [f"--add-host=tajo.host.ch:{self.accounts[0].host}"]
        command += ["-v", f"{self.stack}/mlflow:/etc/mlflow_sftp:ro"]
        command += ["-v", f"{self.stack}/.secrets/mlflow_sftp_key:/run/secrets/mlflow_sftp_key:ro"]
        said = self.home.run(*command, self.image, "python", "-c", code, *arguments)
        return said.splitlines()[-1] if said else ""

    def log(self, experiment: str, runs: int) -> None:
        self.python(MAKE, experiment, str(runs))

    def read(self, experiment: str = "old") -> str:
        return self.python(READ, experiment)

    def roots(self) -> set[str]:
        """Where runs have their artifacts, without the path in there."""
        found = json.loads(self.python(ROOTS))
        return {uri.rpartition("/artifacts")[0].rsplit("/", 2)[0].rstrip("/") for uri in found}

    def stored(self) -> tuple[str, str]:
        """Where the servers have artifacts, and the root of new experiments."""
        pairs = (each.split("=", 1) for each in self.description()["TaskTemplate"]["ContainerSpec"]["Env"])
        told = dict(pairs)
        return told["MLFLOW_ARTIFACT_URI"], told["MLFLOW_ARTIFACT_ROOT"]

    def uri(self, account: int, path: str = "artifacts") -> str:
        own = self.accounts[account]
        return f"sftp://{own.user}@tajo.host.ch:{own.port}{own.root / path}"

    def keys(self) -> set[str]:
        """Names of the SSH keys among the swarm's secrets."""
        names = self.home.run("docker", "secret", "ls", "--format={{.Name}}").split()
        return {name for name in names if "_id_" in name}

    def files(self) -> dict[str, bytes]:
        """The stack's files that a switch changes."""
        paths = [self.stack / ".env", *(self.stack / "mlflow").iterdir()]
        paths += (self.stack / ".secrets/mlflow_sftp_key").iterdir()
        return {str(path): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("switch")
    images = swarm_images(directory, "mlflow-swsw", PORT + 10)
    with machines("mlflow-swsw", "10.97.0", "n1", "n2") as made:
        # How a playbook brings images to nodes is tried with those that are built on the way.
        for machine in made:
            machine.load(*images)
        with (
            Account(directory / "first", made[0].gateway) as first,
            Account(directory / "second", made[0].gateway) as second,
        ):
            site = Site(
                directory=directory,
                machines={each.name: each for each in made},
                account=first,
                name=NAME,
                port=PORT,
                managers=["n1"],
                accounts=(first, second),
                image=images[1],
            )
            passes(site.play("site.yml", "--skip-tags", "verify"))
            site.revive()
            site.log("old", RUNS)
            site.content = site.read()
            yield site


def bring_to(site: Site, account: int, access: str) -> None:
    """Have the store that a step begins with, whatever became of the steps before."""
    if site.half_done():
        passes(site.play(SWITCH, resume="undo"))
    root = PROXY if access == "proxied" else site.uri(account)
    if site.stored() != (site.uri(account), root):
        passes(site.play(SWITCH, **site.at(account, access)))
    assert site.stored() == (site.uri(account), root)
    site.revive()
    assert site.read() == site.content


def switched(site: Site, **variables: object) -> str:
    """Run a switch while both gateways are asked; return what it says."""
    with site.watching() as asking:
        output = passes(site.play(SWITCH, **variables))
    (told,) = re.findall(r"MLflow was closed for ([\d.]+) s", output)
    refused = sum(each.status != 200 for each in asking.answers)
    print(
        f"closed for {told} s as told, {outage(asking):.1f} s as asked; {refused} of {asking.asked} answered with 503, "
        f"errors: {asking.errors}; {site.records()[-1]['steps']}"
    )
    assert asking.errors == []
    assert outage(asking) < float(told) + 5
    return output


def changes_nothing(output: str) -> bool:
    return "changed=0" in output and not re.search(r"changed=[1-9]", output)


def test_local_storage_is_refused(site: Site) -> None:
    bring_to(site, 0, "proxied")
    before = site.description()
    output = fails(site.play(SWITCH, artifact_storage="local"))
    assert "Local storage is a volume on one host" in output
    assert "Nothing was changed" in output
    assert site.description() == before


def test_check_mode_shows_the_plan_and_touches_nothing(site: Site) -> None:
    bring_to(site, 0, "proxied")
    before, files, records = site.description(), site.files(), site.records()
    output = passes(site.play(SWITCH, "--check", "--diff", **site.at(0, "direct")))
    assert f"To: {site.uri(0)} (direct access)" in output
    assert re.search(r"Locations to change: [1-9]", output)
    assert "Expected downtime" in output
    assert "A real run would now copy, close MLflow" in output
    assert (site.description(), site.files(), site.records()) == (before, files, records)


def test_what_somebody_else_has_changed_is_not_closed(site: Site) -> None:
    bring_to(site, 0, "proxied")
    site.home.run("docker", "service", "scale", f"{SERVICE}=1")
    try:
        output = fails(site.play(SWITCH, **site.at(0, "direct")))
        assert f"{SERVICE} has 1 servers, and mlflow_stack_replicas is 2: somebody has scaled it" in output
        assert "Nothing was changed" in output
    finally:
        site.home.run("docker", "service", "scale", f"{SERVICE}=2")


def test_site_refuses_another_store_and_names_the_switch(site: Site) -> None:
    bring_to(site, 0, "proxied")
    output = fails(site.play("site.yml", "--skip-tags", "verify", **site.at(0, "direct")))
    assert "playbooks/storage_switch.yml moves them" in output


def test_proxied_to_direct(site: Site) -> None:
    bring_to(site, 0, "proxied")
    before = site.description()
    output = switched(site, **site.at(0, "direct"), verify_runs="all")
    assert f"Read back and compared: {RUNS} runs" in output
    assert site.stored() == (site.uri(0), site.uri(0))
    assert site.roots() == {site.uri(0)}
    assert site.read() == site.content
    again = passes(site.play(SWITCH, **site.at(0, "direct")))
    assert f"Nothing to do: artifacts are at {site.uri(0)}, direct access." in again
    assert changes_nothing(again)
    after = site.description()
    # A deployment has nothing to add.
    assert changes_nothing(passes(site.play("site.yml", "--skip-tags", "verify", **site.at(0, "direct"))))
    assert site.description() == after
    changed = {
        name
        for name, value in after["TaskTemplate"]["ContainerSpec"].items()
        if before["TaskTemplate"]["ContainerSpec"][name] != value
    }
    assert changed == {"Args", "Env"}


def test_to_a_second_account(site: Site) -> None:
    bring_to(site, 0, "direct")
    (key,) = site.keys()
    output = switched(site, **site.at(1, "direct"), verify_runs="all")
    assert f"Read back and compared: {RUNS} runs" in output
    assert site.stored() == (site.uri(1), site.uri(1))
    assert site.roots() == {site.uri(1)}
    # Nothing of the first account is asked for any more.
    site.accounts[0].stop()
    try:
        assert site.read() == site.content
        site.log("since", 1)
    finally:
        site.accounts[0].start()
    (other,) = site.keys()
    assert other != key
    assert changes_nothing(passes(site.play(SWITCH, **site.at(1, "direct"))))
    assert changes_nothing(passes(site.play("site.yml", "--skip-tags", "verify", **site.at(1, "direct"))))


def test_undo_brings_runs_back_that_were_logged_since(site: Site) -> None:
    bring_to(site, 0, "direct")
    passes(site.play(SWITCH, **site.at(1, "direct")))
    site.log("later", 2)
    later = site.read("later")
    passes(site.play(SWITCH, undo=True, **site.at(0, "direct")))
    assert site.stored() == (site.uri(0), site.uri(0))
    site.accounts[1].stop()
    try:
        assert site.read() == site.content
        assert site.read("later") == later
    finally:
        site.accounts[1].start()


def test_the_new_store_fails_in_the_closed_phase_and_everything_is_as_before(site: Site) -> None:
    bring_to(site, 0, "direct")
    before, files, keys = site.description(), site.files(), site.keys()
    try:
        with site.watching() as asking:
            output = fails(
                site.play_until("Close MLflow", SWITCH, site.accounts[1].stop, **site.at(1, "direct"))
            )
    finally:
        site.accounts[1].start()
    assert "Copy files that were written since the first copy" in output
    assert "was undone: MLflow answers" in output
    print(f"not let in for {outage(asking):.1f} s")
    assert asking.errors == []
    assert (site.description(), site.files(), site.keys()) == (before, files, keys)
    assert site.roots() == {site.uri(0)}
    assert site.read() == site.content


@pytest.mark.parametrize(
    ("step", "resume", "after"),
    [
        ("Close MLflow", "finish", 0.5),
        ("Change the locations", "undo", 0.3),
        ("Try the next server", "finish", 1.0),
        ("Open MLflow", "undo", 2.0),
    ],
)
def test_killed(site: Site, step: str, resume: str, after: float) -> None:
    bring_to(site, 0, "proxied")
    before, files, keys = site.description(), site.files(), site.keys()
    site.play_until(step, SWITCH, after=after, **site.at(1, "direct"))
    assert site.half_done()
    half = fails(site.play(SWITCH, **site.at(1, "direct")))
    assert "Run this playbook with -e resume=finish" in half
    passes(site.play(SWITCH, resume=resume, **site.at(1, "direct")))
    if resume == "undo":
        assert (site.description(), site.files(), site.keys()) == (before, files, keys)
        assert site.stored() == (site.uri(0), PROXY)
    else:
        assert site.stored() == (site.uri(1), site.uri(1))
        assert site.roots() == {site.uri(1)}
    assert site.read() == site.content


def test_new_runs_go_to_another_directory_and_old_ones_stay(site: Site) -> None:
    bring_to(site, 0, "direct")
    there = site.at(0, "direct", "elsewhere")
    passes(site.play(SWITCH, migrate="none", **there))
    site.log("elsewhere", 1)
    assert site.roots() == {site.uri(0), site.uri(0, "elsewhere")}
    assert site.read() == site.content
    passes(site.play(SWITCH, undo=True, **site.at(0, "direct")))
    assert site.stored() == (site.uri(0), site.uri(0))
    assert site.read() == site.content
