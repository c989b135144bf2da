"""mlflow_artifact_roundtrip against a real MLflow server, direct and proxied, on a real sshd."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from mlflow_sftp.operations.round_trip import RoundTrip
from tests.integration.plugins.conftest import account
from tests.support.ansible import Outcome, run_module, run_task
from tests.support.mlflow_server import MlflowServer
from tests.support.sshd import SshServer


@dataclass
class Stack:
    """MLflow with its artifacts on SFTP."""

    mode: str
    sshd: SshServer
    mlflow: MlflowServer
    database: Path

    def run(self, task: bool = False, check: bool = False, **options: Any) -> Outcome:
        """Run the module."""
        run = run_task if task else run_module
        environment = {"MLFLOW_SFTP_SSH_CONFIG": str(self.sshd.ssh_config)}
        given = {"tracking_uri": self.mlflow.uri, "size": 300_000, **options}
        return run("mlflow_artifact_roundtrip", given, check=check, environment=environment)

    @property
    def account(self) -> dict[str, Any]:
        """The SFTP account for expect_on_sftp."""
        return {**account(self.sshd), "path": str(self.sshd.root)}

    def left(self) -> tuple[list[str], int, int]:
        """Files on the server, active runs, active experiments."""
        client = MlflowClient(self.mlflow.uri)
        experiments = [found.experiment_id for found in client.search_experiments(ViewType.ACTIVE_ONLY)]
        files = [str(path) for path in self.sshd.root.rglob("*") if path.is_file()]
        return files, len(client.search_runs(experiments)), len(experiments)


def serve(mode: str, directory: Path) -> Iterator[Stack]:
    """Start both servers."""
    with SshServer(directory / "sshd") as sshd:
        root = sshd.uri()
        flags = {
            "direct": ["--default-artifact-root", root, "--no-serve-artifacts"],
            "proxied": ["--serve-artifacts", "--artifacts-destination", root],
        }[mode]
        environment = {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}
        with MlflowServer(directory / "mlflow", flags, environment) as mlflow:
            yield Stack(mode, sshd, mlflow, directory / "mlflow" / "mlflow.db")


# What a purge does does not depend on the access; and there alone nobody waits as long as the server's settings say.
direct = pytest.mark.parametrize("stack", ["direct"], indirect=True)


@pytest.fixture(scope="module", params=["direct", "proxied"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for each kind of access."""
    yield from serve(request.param, tmp_path_factory.mktemp(request.param))


def test_bytes_are_read_back_and_nothing_stays(stack: Stack) -> None:
    outcome = stack.run(task=True, expect_on_sftp={**stack.account, "password": "hunter2"})
    result = outcome.result
    assert not outcome.failed, outcome.output
    assert result["read_back"] is True
    assert result["changed"] is False
    paths = [file["path"] for file in result["files"]]
    assert paths == sorted(
        ["hello.txt", "empty", "large.bin", "nested/Zürich 東京 - 1.txt", "nested/deeper/values.json"]
    )
    assert {file["path"]: file["size"] for file in result["files"]}["large.bin"] == 300_000
    assert set(result["times"]) == {"reach", "create", "log", "list", "download", "read_back", "delete"}
    assert stack.left() == ([], 0, 1)
    assert list(stack.sshd.root.iterdir()) == []
    for secret in ("hunter2", "PRIVATE KEY"):
        assert secret not in outcome.output


def test_run_is_kept_read_back_from_elsewhere_and_removed(stack: Stack) -> None:
    kept = stack.run(cleanup=False).result
    assert kept["changed"] is True
    assert kept["read_back"] is False
    relative = (
        kept["artifact_uri"].partition(":/")[2].removeprefix(stack.sshd.uri().partition(":/")[2]).strip("/")
    )
    digest = {
        **account(stack.sshd),
        "path": str(stack.sshd.root / relative),
        "expected": {file["path"]: file["sha256"] for file in kept["files"]},
    }
    assert not run_module("sftp_digest", digest).failed
    removal = {"state": "absent", "run_id": kept["run_id"]}
    assert stack.run(**removal).result["changed"] is True
    assert stack.left() == ([], 0, 1)
    assert stack.run(**removal).result["changed"] is False


@pytest.mark.parametrize("access", ["direct", "proxied"])
def test_access_is_what_is_wanted_or_the_round_trip_fails(stack: Stack, access: str) -> None:
    outcome = stack.run(access=access, size=1000)
    if access == stack.mode:
        assert not outcome.failed, outcome.output
    else:
        assert outcome.result["cause"] == "access_mode_mismatch", outcome.output
        assert outcome.result["artifact_uri"] in outcome.result["msg"]
        assert "mlflow_stack_access" in outcome.result["remedy"]
    assert stack.left() == ([], 0, 1)


def test_named_experiment_that_is_not_ours_stays(stack: Stack) -> None:
    client = MlflowClient(stack.mlflow.uri)
    experiment = client.create_experiment("mine")
    assert not stack.run(experiment="mine").failed
    assert client.get_experiment(experiment).lifecycle_stage == "active"
    client.delete_experiment(experiment)


def test_check_mode_logs_nothing(stack: Stack) -> None:
    result = stack.run(check=True, cleanup=False).result
    assert result["changed"] is True
    assert "nothing was logged" in result["msg"]
    assert stack.left() == ([], 0, 1)


def test_other_bytes_on_the_server_fail_and_nothing_stays(stack: Stack, tmp_path: Path) -> None:
    with SshServer(tmp_path / "other") as other:
        (other.root / "x").touch()
        outcome = stack.run(expect_on_sftp={**account(other), "path": str(other.root)})
    if stack.mode == "proxied":
        assert outcome.failed
        assert outcome.result["cause"] == "bytes_differ_on_server"
    assert stack.left() == ([], 0, 1)


@direct
def test_sftp_down_fails_clearly_and_the_run_is_deleted(stack: Stack) -> None:
    stack.sshd.stop()
    try:
        outcome = stack.run()
    finally:
        stack.sshd.start()
    assert outcome.failed
    assert outcome.result["cause"] == "artifact_store_failed"
    assert str(stack.sshd.port) in outcome.result["left_behind"]
    assert "Traceback" not in outcome.output
    assert stack.left() == ([], 0, 1)


def rows(stack: Stack) -> dict[str, int]:
    """Number of rows of each table of MLflow's database."""
    with closing(sqlite3.connect(stack.database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables
        }


def purge(stack: Stack, **options: Any) -> Outcome:
    """Remove for good what the round trips left."""
    given = {
        "database": f"sqlite:///{stack.database}",
        "tracking_uri": stack.mlflow.uri,
        "destination": stack.sshd.uri(),
    }
    environment = {"MLFLOW_SFTP_SSH_CONFIG": str(stack.sshd.ssh_config)}
    return run_module("mlflow_roundtrip_purge", given, environment=environment, **options)


@pytest.mark.full
def test_round_trips_that_share_an_experiment_leave_no_row_and_no_directory(stack: Stack) -> None:
    """Once the experiment is there, which stays."""
    assert not stack.run(experiment="verify", size=1000).failed
    purge(stack)
    before, directories = rows(stack), set(stack.sshd.root.rglob("*"))
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda _: stack.run(experiment="verify", size=1000), range(3)))
    assert not any(outcome.failed for outcome in outcomes), outcomes
    client = MlflowClient(stack.mlflow.uri)
    experiment = client.get_experiment_by_name("verify")
    assert experiment is not None
    deleted = client.search_runs([experiment.experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert len(deleted) == 3

    foreseen = purge(stack, check=True).result
    assert (foreseen["changed"], foreseen["runs"], foreseen["experiments"]) == (True, 3, 0)
    outcome = purge(stack)
    assert not outcome.failed, outcome.output
    assert (outcome.result["runs"], outcome.result["experiments"]) == (3, 0)
    assert rows(stack) == before
    assert set(stack.sshd.root.rglob("*")) == directories
    assert purge(stack).result["changed"] is False
    assert not stack.run(experiment="verify", size=1000).failed
    purge(stack)
    assert rows(stack) == before


@direct
def test_a_purge_takes_what_is_its_own_and_over(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that anybody else made goes: not from an experiment of ours, not if it is old, not if it is deleted."""
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(stack.sshd.ssh_config))
    purge(stack)
    client = MlflowClient(stack.mlflow.uri)
    assert not stack.run(experiment="verify", size=1000).failed
    shared = client.get_experiment_by_name("verify")
    assert shared is not None
    an_hour_ago = int((time.time() - 3700) * 1000)
    somebodys = client.create_run(shared.experiment_id, start_time=an_hour_ago).info.run_id
    client.log_text(somebodys, "precious", "precious.txt")
    deleted = client.create_run(shared.experiment_id).info.run_id
    client.delete_run(deleted)
    running = client.create_run(shared.experiment_id, tags={"mlflow_sftp.roundtrip": "true"}).info.run_id
    killed = client.create_run(
        shared.experiment_id, start_time=an_hour_ago, tags={"mlflow_sftp.roundtrip": "true"}
    )
    client.log_text(killed.info.run_id, "left", "left.txt")
    kept = client.create_run(
        shared.experiment_id, start_time=an_hour_ago, tags={"mlflow_sftp.roundtrip": "kept"}
    ).info.run_id

    foreseen = purge(stack, check=True).result
    outcome = purge(stack)
    assert not outcome.failed, outcome.output
    assert (outcome.result["runs"], outcome.result["experiments"]) == (2, 0)
    assert (foreseen["runs"], foreseen["experiments"]) == (2, 0)
    for run in (somebodys, running, kept):
        assert client.get_run(run).info.lifecycle_stage == "active"
    assert client.get_run(deleted).info.lifecycle_stage == "deleted"
    files, _, _ = stack.left()
    assert [Path(file).name for file in files] == ["precious.txt"]

    for run in (running, kept):
        client.delete_run(run)
    assert purge(stack).result["runs"] == 2
    assert client.get_experiment(shared.experiment_id).lifecycle_stage == "active"


@pytest.mark.full
@direct
def test_an_experiment_made_for_one_round_trip_goes_unless_it_holds_more(stack: Stack) -> None:
    purge(stack)
    before = rows(stack)
    client = MlflowClient(stack.mlflow.uri)
    assert not stack.run(size=1000).failed
    kept = stack.run(size=1000, cleanup=False).result
    experiment = client.get_run(kept["run_id"]).info.experiment_id
    model = client.create_logged_model(experiment, name="precious")
    assert not stack.run(state="absent", run_id=kept["run_id"]).failed
    outcome = purge(stack)
    assert (outcome.result["runs"], outcome.result["experiments"]) == (2, 1), outcome.output
    assert client.get_logged_model(model.model_id).name == "precious"
    assert rows(stack)["experiments"] == before["experiments"] + 1
    assert rows(stack)["runs"] == before["runs"]


@pytest.mark.full
@direct
def test_round_trips_go_on_while_what_is_over_is_purged(stack: Stack) -> None:
    before = stack.left()[0]
    with ThreadPoolExecutor() as pool:
        trips = [pool.submit(stack.run, experiment="verify", size=1000) for _ in range(4)]
        purges = [purge(stack) for _ in range(4)]
        outcomes = [trip.result() for trip in trips]
    assert not [outcome.output for outcome in (*outcomes, *purges) if outcome.failed]
    assert not purge(stack).failed
    assert stack.left()[0] == before


@direct
def test_a_round_trip_is_no_earlier_run(stack: Stack) -> None:
    """Another service removes its own while this one looks."""
    kept = stack.run(experiment="of another service", size=1000, cleanup=False).result
    stack.sshd.stop()
    try:
        RoundTrip(stack.mlflow.uri).check_earlier_runs()
    finally:
        stack.sshd.start()
    assert not stack.run(state="absent", run_id=kept["run_id"]).failed
    assert not purge(stack).failed


@direct
def test_what_cannot_be_deleted_keeps_its_row(stack: Stack) -> None:
    client = MlflowClient(stack.mlflow.uri)
    assert not stack.run(experiment="unreachable", size=1000).failed
    shared = client.get_experiment_by_name("unreachable")
    assert shared is not None
    stack.sshd.stop()
    try:
        outcome = purge(stack)
    finally:
        stack.sshd.start()
    assert outcome.failed
    assert str(stack.sshd.port) in outcome.result["msg"]
    assert len(client.search_runs([shared.experiment_id], run_view_type=ViewType.DELETED_ONLY)) == 1
    assert not purge(stack).failed
    assert not client.search_runs([shared.experiment_id], run_view_type=ViewType.ALL)


@pytest.mark.full
def test_the_command_makes_a_round_trip_and_purges(stack: Stack) -> None:
    stack.run(experiment="by hand", size=1000)
    purge(stack)
    before = rows(stack)
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": stack.mlflow.uri,
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{stack.database}",
        "MLFLOW_SFTP_SSH_CONFIG": str(stack.sshd.ssh_config),
    }

    def call(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "mlflow_sftp", "roundtrip", "--size", "1000", "--json", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    made = call("--experiment", "by hand", "--purge", "--destination", stack.sshd.uri(), "--earlier-runs")
    assert made.returncode == 0, made.stderr
    report = json.loads(made.stdout)
    assert (report["contract"], report["access"], report["kept"]) == (1, stack.mode, False)
    assert report["purged"] == {"runs": 1, "experiments": 0}
    assert len(report["files"]) == 5
    assert rows(stack) == before

    other = {"direct": "proxied", "proxied": "direct"}[stack.mode]
    refused = call("--access", other)
    assert refused.returncode == 1
    error = json.loads(refused.stdout)["error"]
    assert error["cause"] == "access_mode_mismatch"
    assert error["remedy"]
    purge(stack)
    assert rows(stack) == before
