"""Jobs on a swarm: who reaches a scheduler, sweeps on one, two and three nodes, and one that loses a node.

The tests of this file are steps of one story, on one swarm.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest

from tests.e2e.test_dask import ENTRYPOINT, STRANGER
from tests.e2e.test_swarm_serving import changes_nothing
from tests.support.machines import machines
from tests.support.monitor import eventually
from tests.support.stack import fails, passes
from tests.support.swarm import Account, SwarmSite, swarm_images

pytestmark = [
    pytest.mark.docker,
    pytest.mark.sweep,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

LABEL = "mlflow.jobs"
SERVICES = ["mlflow_dask-scheduler", "mlflow_dask-worker"]
# Until the scheduler takes a machine without power for lost, and a worker is back on one that has it again.
LOST_SECONDS = 300


class JobSite(SwarmSite):
    """A swarm with workers of dask, one on each node with the label; the first machine begins jobs."""

    def _groups(self) -> dict[str, Any]:
        groups = super()._groups()
        first = groups["swarm_managers"]["hosts"]["n1"]
        groups["swarm_managers"]["hosts"]["n1"] = {**first, "docker_swarm_labels": {LABEL: "true"}}
        return groups

    def _variables(self) -> dict[str, object]:
        return {
            **super()._variables(),
            "mlflow_stack_replicas": 2,
            "mlflow_stack_access": "direct",
            "mlflow_stack_dask": True,
            "mlflow_stack_dask_workers": 0,
            "mlflow_stack_dask_label": LABEL,
            "mlflow_stack_dask_authority_dir": str(self.directory / "dask"),
        }

    def label(self, *names: str) -> None:
        """Let these machines, and no others, have a worker, and wait for it."""
        for name in self.machines:
            change = ["--label-add", f"{LABEL}=true"] if name in names else ["--label-rm", LABEL]
            if (name in names) is not (name in self.labelled()):
                self.home.run("docker", "node", "update", *change, name)
        eventually(lambda: len(self.workers()) == len(names), LOST_SECONDS)

    def labelled(self) -> list[str]:
        """Names of the machines with the label."""
        return self.home.run(
            "docker", "node", "ls", f"--filter=node.label={LABEL}=true", "--format={{.Hostname}}"
        ).split()

    def workers(self) -> list[int]:
        """What of memory, in MiB, each worker may take that the scheduler knows."""
        code = (
            "from distributed import Client; known = Client().scheduler_info(n_workers=-1)['workers'].values();"
            "print('workers', *[each['memory_limit'] // 2**20 for each in known])"
        )
        said = self.job("python", "-c", code).splitlines()[-1]
        return [int(each) for each in said.split()[1:]]

    def job(self, *command: str) -> str:
        """Run a job as an operator begins it on the stack's home; return what it prints."""
        options = ("--project-directory", str(self.stack / "jobs"), "run", "--rm", "-T")
        return self.home.run("docker", "compose", *options, "train", *command)

    def sweep(self, experiment: str, *arguments: str) -> dict[str, Any]:
        """Run a sweep; return its result."""
        options = ("--engine", "dask", "--json", "--experiment", experiment, *arguments)
        said = self.job(*ENTRYPOINT, *options)
        printed: dict[str, Any] = json.JSONDecoder().raw_decode(said, said.index("{\n"))[0]
        return printed

    def trials(self, experiment: str) -> list[dict[str, Any]]:
        """The runs of all trials of an experiment."""
        found = self.ask("n1", path="/api/2.0/mlflow/experiments/search?max_results=100")["experiments"]
        ids = [each["experiment_id"] for each in found if each["name"] == experiment]
        body = {"experiment_ids": ids, "filter": "tags.`sweep.trial` != ''"}
        return (
            list(self.ask("n1", "POST", "/api/2.0/mlflow/runs/search", body).get("runs", [])) if ids else []
        )

    def stored(self, done: dict[str, Any]) -> dict[str, bytes]:
        """What each file that a sweep has told of holds on the SFTP server."""
        root = self.account.root / "artifacts" / done["experiment_id"]
        return {path: (root / path).read_bytes() for path in told(done)}


def told(done: dict[str, Any]) -> dict[str, str]:
    """Digests of all files that trials and shards have written, by path below the experiment's directory."""
    return {
        f"{trial['run_id']}/artifacts/{path}": digest
        for trial in done["trials"]
        for path, digest in trial["digests"].items()
    } | {f"{done['run_id']}/artifacts/{each['path']}": each["digest"] for each in done["shards"]}


def require_stored(site: JobSite, done: dict[str, Any], trials: int, shards: int) -> None:
    expected = told(done)
    assert len(expected) == trials * 3 + shards
    assert {path: sha256(content).hexdigest() for path, content in site.stored(done).items()} == expected
    models = site.account.root / "artifacts" / done["experiment_id"] / "models"
    for trial in done["trials"]:
        assert (models / trial["model_uri"].removeprefix("models:/") / "artifacts/MLmodel").is_file()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the images that the swarm runs, on this machine's engine."""
    return swarm_images(tmp_path_factory.mktemp("images"), "mlflow-jobs", 15230, mlflow_stack_dask=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, images: list[str]) -> Iterator[JobSite]:
    directory = tmp_path_factory.mktemp("jobs")
    with machines("mlflow-jobs", "10.84.0", "n1", "n2", "n3") as made:
        # That the home's come to the others, another story shows.
        for machine in made:
            machine.load(*images)
        with Account(directory / "account", made[0].gateway) as account:
            yield JobSite(
                directory, {each.name: each for each in made}, account, "mlflow.jobs.example", 15220
            )


@pytest.fixture
def served(site: JobSite) -> JobSite:
    """What the steps after the first begin with: all machines live, and all servers answer."""
    site.revive()
    if not (site.stack / "jobs").exists():
        passes(site.play("site.yml", "--skip-tags", "verify"))
    return site


def test_check_mode_says_that_workers_would_run(site: JobSite) -> None:
    output = passes(site.play("site.yml", "--check", "--diff", "--skip-tags", "verify"))
    assert "Would serve mlflow, gateway, postgres, dask-scheduler, dask-worker on the swarm" in output
    assert not (site.directory / "dask").exists()


def test_scheduler_and_workers_run_where_they_may_and_publish_nothing(site: JobSite) -> None:
    output = passes(site.play("site.yml", "--skip-tags", "verify", "--diff"))
    assert "PRIVATE KEY" not in output
    # All of what the container may.
    assert site.workers() == [2048]
    for each in json.loads(site.home.run("docker", "service", "inspect", *SERVICES)):
        assert "Ports" not in each["Endpoint"].get("Spec", {})
        assert "Ports" not in each["Endpoint"]
        container = each["Spec"]["TaskTemplate"]["ContainerSpec"]
        assert {secret["File"]["Mode"] for secret in container["Secrets"]} <= {0o400, 0o600}
        assert "certificate.pem" in str(container["Secrets"])
        assert ("id_ed25519" in str(container["Secrets"])) is each["Spec"]["Name"].endswith("worker")
    # The authority's own key is not on the swarm's side.
    assert not list(site.stack.rglob("ca.key"))


def test_a_second_run_changes_nothing(served: JobSite) -> None:
    assert changes_nothing(passes(served.play("site.yml", "--skip-tags", "verify")))
    assert changes_nothing(passes(served.play("site.yml", "--check", "--diff", "--skip-tags", "verify")))


def test_without_the_network_there_is_no_way_and_without_a_certificate_no_answer(served: JobSite) -> None:
    (shown,) = json.loads(served.home.run("docker", "service", "inspect", "mlflow_dask-scheduler"))
    image = shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    (task,) = served.home.run(
        "docker", "service", "ps", "--quiet", "--filter=desired-state=running", "mlflow_dask-scheduler"
    ).split()
    (told,) = json.loads(served.home.run("docker", "inspect", task))
    address = told["NetworksAttachments"][0]["Addresses"][0].partition("/")[0]

    def stranger(network: str) -> str:
        command = ("docker", "run", "--rm", f"--network={network}", image, "python", "-c", STRANGER, address)
        return served.machines["n1"].run(*command)

    assert stranger("mlflow_swarm").startswith("no way:")
    assert stranger("bridge").startswith("no way:")
    assert stranger("mlflow_swarm_dask").startswith("refused: TLSV13_ALERT_CERTIFICATE_REQUIRED")


def test_sweeps_on_one_two_and_three_nodes_store_everything(served: JobSite) -> None:
    speeds = {}
    for count in (1, 2, 3):
        served.label(*list(served.machines)[:count])
        arguments = ("--trials", "6", "--epochs", "40", "--shards", "6")
        done = served.sweep(f"on {count}", *arguments)
        require_stored(served, done, 6, 6)
        assert {run["info"]["status"] for run in served.trials(f"on {count}")} == {"FINISHED"}
        speeds[count] = done["speed"]
    # All nodes share the cores of this machine: more of them need not be faster here.
    print("speed", json.dumps(speeds))
    assert all(rate > 0 for speed in speeds.values() for rate in speed.values())


def test_a_node_without_power_costs_its_trials_and_no_file(served: JobSite) -> None:
    served.label(*served.machines)
    with ThreadPoolExecutor(1) as pool:
        arguments = ("lost", "--trials", "6", "--epochs", "150")
        job: Future[dict[str, Any]] = pool.submit(served.sweep, *arguments)
        # All are in the middle of a trial.
        eventually(lambda: len([run for run in running(served) if run["data"].get("metrics")]) == 3, 240)
        served.machines["n3"].kill()
        killed = time.monotonic()
        done = job.result()
    print("seconds after the loss", round(time.monotonic() - killed))
    require_stored(served, done, 6, 4)
    finished = {each["run_id"]: str(each["number"]) for each in done["trials"]}
    states = [run["info"]["status"] for run in served.trials("lost")]
    assert sorted(states) == [*["FINISHED"] * 6, "KILLED"]
    for run in served.trials("lost"):
        tags = {each["key"]: each["value"] for each in run["data"]["tags"]}
        if run["info"]["status"] == "KILLED":
            assert finished[tags["sweep.repeated_by"]] == tags["sweep.trial"]


def running(site: JobSite) -> list[dict[str, Any]]:
    return [run for run in site.trials("lost") if run["info"]["status"] == "RUNNING"]


def test_a_node_that_is_back_has_a_worker_again(served: JobSite) -> None:
    assert served.labelled() == sorted(served.machines)
    eventually(lambda: len(served.workers()) == 3, LOST_SECONDS)


def test_so_many_workers_are_spread_over_all_nodes(served: JobSite) -> None:
    served.settings |= {"mlflow_stack_dask_workers": 3, "mlflow_stack_dask_label": ""}
    passes(served.play("site.yml", "--skip-tags", "verify"))
    nodes = served.home.run(
        "docker",
        "service",
        "ps",
        "--filter=desired-state=running",
        "--format={{.Node}}",
        "mlflow_dask-worker",
    )
    assert sorted(nodes.split()) == sorted(served.machines)


def test_what_is_switched_off_goes(served: JobSite) -> None:
    passes(served.play("site.yml", "--skip-tags", "verify", mlflow_stack_dask=False))
    assert not set(SERVICES) & set(served.listed("service"))
    assert "mlflow_swarm_dask" not in served.listed("network")
    assert not [name for name in served.listed("config") + served.listed("secret") if "authority" in name]
    for name in ("jobs", "dask", ".secrets/dask"):
        assert not (served.stack / name).exists()
    assert served.answers()


def test_teardown_ends_jobs_and_leaves_nothing(served: JobSite, images: list[str]) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(served.job, "sleep", "3600")
        eventually(lambda: "train" in served.home.run("docker", "ps", "--format={{.Names}}"), 120)
        served.attach("theirs", images[1])
        output = fails(served.play("playbooks/teardown.yml", keep_data=False))
        assert "n1: mlflow_swarm cannot be removed (" in output
        assert "is in use by task" in output
        assert job.exception() is not None
    assert served.stack.exists()
    assert served.home.run("docker", "rm", "--force", "theirs") == "theirs"
    passes(served.play("playbooks/teardown.yml", keep_data=False))
    for kind in ("service", "secret", "config"):
        assert served.listed(kind) == []
    assert served.listed("network", "--filter=driver=overlay") == ["ingress"]
    assert not served.stack.exists()
