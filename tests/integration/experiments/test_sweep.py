"""A sweep as users start it: on this host, and on dask's workers, of which one is killed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.dask_cluster import DaskCluster, configure
from tests.support.mlflow_server import MlflowServer
from tests.support.server import free_port
from tests.support.sshd import SshServer

pytestmark = [pytest.mark.sshd, pytest.mark.full, pytest.mark.timeout(900)]

MODULE = "experiments.image_scoring.entrypoint"
# Nobody answers there: whoever would open a run first would say so.
NO_SERVER = "http://127.0.0.1:9"


class Place:
    """A tracking server with direct access to an SFTP server; `environment` is what its clients need."""

    def __init__(self, sshd: SshServer, server: MlflowServer) -> None:
        self.sshd = sshd
        self.server = server
        self.client = MlflowClient(server.uri)
        self.environment = {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}

    def runs(self, experiment: str) -> list[Run]:
        """All runs of an experiment, none before there is one."""
        found = self.client.get_experiment_by_name(experiment)
        return list(self.client.search_runs([found.experiment_id])) if found else []

    def children(self, experiment: str) -> list[Run]:
        return [run for run in self.runs(experiment) if "sweep.trial" in run.data.tags]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("sweep")
    with (
        SshServer(directory / "sshd") as sshd,
        MlflowServer(directory / "mlflow", ["--default-artifact-root", sshd.uri()]) as server,
    ):
        yield Place(sshd, server)


@pytest.fixture(scope="module")
def cluster(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path_factory.mktemp("dask"), 2, place.environment) as running:
        yield running


def start(uri: str, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, "--tracking-uri", uri, "--json", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    printed: dict[str, Any] = json.loads(out)
    return printed


def eventually(found: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return value


def require_complete(place: Place, done: dict[str, Any], trials: int) -> None:
    """Each trial has one finished run whose artifacts, and those of the scoring, are whole on the SFTP server."""
    stored = place.sshd.root / done["experiment_id"]
    assert [each["number"] for each in done["trials"]] == list(range(trials))
    for trial in done["trials"]:
        run = place.client.get_run(trial["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == done["run_id"]
        artifacts = stored / trial["run_id"] / "artifacts"
        assert digests_below(artifacts) == trial["digests"]
        assert set(trial["digests"]) == {"config.json", "validation.json", "plots/confusion_matrix.png"}
        model = stored / "models" / trial["model_uri"].removeprefix("models:/") / "artifacts"
        assert mlflow.pyfunc.load_model(str(model)).predict(np.zeros((2, 64))).shape == (2, 10)
    of_sweep = digests_below(stored / done["run_id"] / "artifacts")
    shards = {shard["path"]: shard["digest"] for shard in done["shards"]}
    assert of_sweep.items() >= shards.items()
    assert sorted(of_sweep.keys() - shards) == ["config.json", "trials.json"]
    tables = [
        json.loads((stored / done["run_id"] / "artifacts" / path).read_text()) for path in sorted(shards)
    ]
    assert sum(len(table["image"]) for table in tables) == 360
    assert len({image for table in tables for image in table["image"]}) == 360
    right = sum(sum(table["correct"]) for table in tables)
    assert done["metrics"]["test_accuracy"] == pytest.approx(right / 360)
    sweep = place.client.get_run(done["run_id"])
    assert sweep.info.status == "FINISHED"
    assert sweep.data.metrics == pytest.approx(done["metrics"] | done["speed"])
    assert min(done["speed"].values()) > 0
    assert sweep.data.tags["sweep.best"] == done["best"]


def digests_below(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_both_engines_do_the_same(place: Place, cluster: DaskCluster) -> None:
    arguments = ("--trials", "2", "--epochs", "3", "--shards", "3", "--seed", "5")
    local = result(start(place.server.uri, place.environment, "--experiment", "local", *arguments))
    environment = place.environment | cluster.configuration
    dask = (
        "--engine",
        "dask",
        "--scheduler",
        cluster.address,
        "--experiment",
        "dask",
        "--register",
        "digits",
    )
    remote = result(start(place.server.uri, environment, *dask, *arguments))

    for done in (local, remote):
        require_complete(place, done, 2)
    assert local["metrics"] == remote["metrics"]
    assert [each["metrics"] for each in local["trials"]] == [each["metrics"] for each in remote["trials"]]
    assert remote["model_version"] == "1"
    assert {run.info.status for run in [*place.runs("local"), *place.runs("dask")]} == {"FINISHED"}


def test_a_lost_workers_trial_is_repeated_and_its_run_ended(place: Place, cluster: DaskCluster) -> None:
    environment = place.environment | cluster.configuration
    arguments = ("--engine", "dask", "--scheduler", cluster.address, "--experiment", "killed")
    process = start(place.server.uri, environment, *arguments, "--trials", "4", "--epochs", "150")
    with cluster.client() as client:
        # Both are in the middle of a trial.
        eventually(
            lambda: len([run for run in place.children("killed") if "train_loss" in run.data.metrics]) == 2,
            120,
        )
        pids = client.run(os.getpid)
        os.kill(min(pids.values()), signal.SIGKILL)
    done = result(process)

    require_complete(place, done, 4)
    finished = {each["run_id"]: str(each["number"]) for each in done["trials"]}
    killed = [run for run in place.children("killed") if run.info.run_id not in finished]
    assert [run.info.status for run in killed] == ["KILLED"]
    for run in killed:
        assert finished[run.data.tags["sweep.repeated_by"]] == run.data.tags["sweep.trial"]


def test_a_sweep_that_is_stopped_leaves_nothing_running(place: Place, cluster: DaskCluster) -> None:
    environment = place.environment | cluster.configuration
    arguments = ("--engine", "dask", "--scheduler", cluster.address, "--experiment", "stopped")
    process = start(place.server.uri, environment, *arguments, "--trials", "3", "--epochs", "100000")
    eventually(lambda: len(place.children("stopped")) == 2, 240)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    assert {run.info.status for run in place.runs("stopped")} == {"KILLED"}
    # The workers have seen it, and are free for others.
    with cluster.client() as client:
        eventually(lambda: not any(client.processing().values()), 60)
        assert client.submit(int, "7", pure=False).result(timeout=60) == 7
    assert {run.info.status for run in place.runs("stopped")} == {"KILLED"}


def test_a_lost_scheduler_is_told_and_leaves_nothing_running(place: Place, tmp_path: Path) -> None:
    with DaskCluster(tmp_path / "dask", 1, place.environment) as cluster:
        environment = place.environment | cluster.configuration
        arguments = ("--engine", "dask", "--scheduler", cluster.address, "--experiment", "headless")
        process = start(place.server.uri, environment, *arguments, "--trials", "2", "--epochs", "100000")
        eventually(lambda: place.children("headless"), 240)
        cluster.kill_scheduler()
        out, err = process.communicate(timeout=120)

    assert process.returncode == 1, err
    assert f"error: the scheduler was lost ({cluster.address})" in err
    assert "Traceback" not in err
    assert out == ""
    # What was told of the trial is over; the sweep itself has failed.
    states = {run.info.run_name: run.info.status for run in place.runs("headless")}
    assert states.pop("trial 0") == "KILLED"
    assert set(states.values()) == {"FAILED"}


@pytest.mark.parametrize(
    "case", ["nobody answers", "another authority", "no certificate", "no encryption", "no address"]
)
def test_a_scheduler_that_cannot_be_used_is_told_before_there_is_a_run(
    case: str, cluster: DaskCluster, tmp_path: Path
) -> None:
    address, environment = cluster.address, cluster.configuration
    if case == "nobody answers":
        address = f"tls://127.0.0.1:{free_port()}"
    if case == "another authority":
        environment = configure(tmp_path / "other")
    if case == "no certificate":
        environment = {}
    if case == "no encryption":
        address = address.replace("tls://", "tcp://")
    if case == "no address":
        address = "dask-scheduler"
    process = start(NO_SERVER, environment, "--engine", "dask", "--scheduler", address)
    out, err = process.communicate(timeout=240)

    assert process.returncode == 2, err
    assert f"error: cannot use the scheduler at {address}: " in err
    assert "docker compose ps dask-scheduler" in err
    assert "DASK_CONFIG" in err
    assert "Traceback" not in err
    assert out == ""
