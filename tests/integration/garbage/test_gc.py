"""What users deleted long ago goes for good, rows and artifacts, through a real server on a real sshd."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, LoggedModelOutput

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import JournalError
from mlflow_sftp.operations import garbage
from mlflow_sftp.operations.artifact_removal import ArtifactRemoval
from mlflow_sftp.operations.garbage import Collected, collect
from tests.support.mlflow_server import MlflowServer
from tests.support.sshd import SshServer

pytestmark = pytest.mark.sshd
DAY_MS = 86_400_000


@dataclass
class Stack:
    """MLflow with its artifacts on SFTP."""

    sshd: SshServer
    server: MlflowServer
    database: Path
    journal: Path

    @property
    def client(self) -> MlflowClient:
        # The registry as well: other tests may have chosen one for this process.
        return MlflowClient(self.server.uri, self.server.uri)

    def collect(self, days: float = 30, check: bool = False) -> Collected:
        with Database(f"sqlite:///{self.database}") as database:
            return collect(
                database,
                self.server.uri,
                days=days,
                journal=self.journal,
                destination=self.sshd.uri(),
                check=check,
            )

    def run(self, experiment: str, text: str = "12345") -> str:
        """Log a run with two files and a dataset; return its id."""
        run = self.client.create_run(experiment).info.run_id
        for name in ("a.txt", "deeper/b.txt"):
            self.client.log_text(run, text, name)
        self.client.log_metric(run, "loss", 1.0)
        source = mlflow.data.from_pandas(pd.DataFrame({"x": [1.0]}), name="numbers")
        self.client.log_inputs(run, [DatasetInput(source._to_mlflow_entity(), [])])
        return run

    def model(self, experiment: str, run: str) -> str:
        model = self.client.create_logged_model(experiment, name="model", source_run_id=run).model_id
        local = self.journal.parent / "MLmodel"
        local.write_text("flavors: {}\n")
        self.client.log_model_artifact(model, str(local))
        self.client.log_outputs(run, [LoggedModelOutput(model, 0)])
        return model

    def set_back(self, days: int) -> None:
        """Let whatever is deleted have been deleted so many days earlier."""
        back = days * DAY_MS
        self.execute(
            f"UPDATE runs SET deleted_time = deleted_time - {back} WHERE lifecycle_stage = 'deleted'"
        )
        for table, column in (
            ("experiments", "last_update_time"),
            ("logged_models", "last_updated_timestamp_ms"),
        ):
            self.execute(f"UPDATE {table} SET {column} = {column} - {back} WHERE lifecycle_stage = 'deleted'")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.database, timeout=20)) as connection, connection:
            return connection.execute(statement).fetchall()

    def rows(self) -> dict[str, int]:
        tables = self.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {str(name): int(str(self.execute(f"SELECT count(*) FROM {name}")[0][0])) for (name,) in tables}

    def files(self) -> set[str]:
        return {str(path.relative_to(self.sshd.root)) for path in self.sshd.root.rglob("*") if path.is_file()}

    def of(self, identifier: str) -> set[str]:
        return {path for path in self.files() if identifier in path}


@pytest.fixture(scope="module", params=["direct", "proxied"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp(request.param)
    with SshServer(directory / "sshd") as sshd:
        flags = {
            "direct": ["--default-artifact-root", sshd.uri(), "--no-serve-artifacts"],
            "proxied": ["--serve-artifacts", "--artifacts-destination", sshd.uri()],
        }[request.param]
        environment = {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}
        with (
            MlflowServer(directory / "mlflow", flags, environment) as server,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
            (directory / "journal").mkdir()
            yield Stack(sshd, server, directory / "mlflow/mlflow.db", directory / "journal/gc.json")


@pytest.fixture
def experiment(stack: Stack) -> str:
    return stack.client.create_experiment(f"of users {time.time_ns()}")


def test_what_is_old_goes_and_everything_else_stays(stack: Stack, experiment: str) -> None:
    client = stack.client
    before = stack.rows()
    kept = stack.run(experiment)
    kept_model = stack.model(experiment, kept)
    base = stack.rows()
    old = [stack.run(experiment) for _ in range(3)]
    old_model = stack.model(experiment, old[0])
    doomed = client.create_experiment("deleted as a whole")
    inside = stack.run(doomed)
    # Not deleted by itself: MLflow deletes the runs of an experiment only.
    inside_model = stack.model(doomed, inside)
    client.delete_logged_model(old_model)
    client.delete_experiment(doomed)
    for run in old:
        client.delete_run(run)
    stack.set_back(31)
    young = stack.run(experiment)
    client.delete_run(young)

    files, rows = stack.files(), stack.rows()
    told = stack.collect(check=True)
    assert (told.runs, told.models, told.experiments, told.kept) == (4, 1, 1, {})
    # Two files a run, one a model; the model of the experiment goes with it and is not counted.
    assert told.artifacts == (9, 4 * 10 + 12)
    assert (stack.files(), stack.rows()) == (files, rows)
    assert not stack.journal.exists()

    done = stack.collect()
    assert (done.runs, done.models, done.experiments, done.kept, done.failed) == (4, 1, 1, {}, {})
    gone = [*old, old_model, inside, inside_model]
    assert stack.files() == {path for path in files if not any(each in path for each in gone)}
    assert stack.of(kept)
    assert stack.of(kept_model)
    assert stack.of(young)
    assert not stack.journal.exists()
    directories = {path.name for path in stack.sshd.root.rglob("*") if path.is_dir()}
    assert not directories & {*gone, doomed}
    client.restore_run(young)
    client.delete_run(young)
    stack.set_back(31)
    assert stack.collect().runs == 1
    # All of the rows, also those to which MLflow's own gc leaves nothing that leads.
    assert {name: count for name, count in stack.rows().items() if count != base[name]} == {}
    assert before["runs"] == base["runs"] - 1
    assert stack.collect().as_dict()["changed"] is False


def test_what_the_registry_leads_to_stays(stack: Stack, experiment: str) -> None:
    client = stack.client
    run, other = stack.run(experiment), stack.run(experiment)
    model = stack.model(experiment, other)
    name = f"registered {time.time_ns()}"
    client.create_registered_model(name)
    client.create_model_version(name, f"runs:/{run}/deeper", run)
    client.create_model_version(name, f"models:/{model}", other, model_id=model)
    client.delete_logged_model(model)
    for each in (run, other):
        client.delete_run(each)
    stack.set_back(31)
    done = stack.collect()
    needs = "of the registered model"
    assert set(done.kept) == {f"run {run}", f"model {model}"}
    assert all(needs in reason for reason in done.kept.values())
    assert done.runs == 1
    assert stack.of(run)
    assert stack.of(model)
    client.delete_registered_model(name)
    done = stack.collect()
    assert (done.runs, done.models, done.kept) == (1, 1, {})
    assert not stack.of(run)


def test_a_run_that_is_restored_meanwhile_stays_whole(
    stack: Stack, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = stack.run(experiment), stack.run(experiment)
    for each in (run, other):
        stack.client.delete_run(each)
    stack.set_back(31)
    write = garbage._write_journal

    def restore_then_write(*arguments: object) -> None:
        stack.client.restore_run(run)
        monkeypatch.setattr(garbage, "_write_journal", write)
        write(*arguments)  # type: ignore[arg-type]

    # Between the look and the removal.
    monkeypatch.setattr(garbage, "_write_journal", restore_then_write)
    assert stack.collect().runs == 1
    assert stack.client.get_run(run).data.metrics == {"loss": 1.0}
    assert len(stack.of(run)) == 2
    assert not stack.of(other)
    assert not stack.journal.exists()


@pytest.mark.parametrize("how", ["the store fails", "it is killed"])
def test_artifacts_follow_their_rows_later(
    stack: Stack, experiment: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    run, other = stack.run(experiment), stack.run(experiment)
    for each in (run, other):
        stack.client.delete_run(each)
    stack.set_back(31)
    killed = how == "it is killed"

    def fail(removal: ArtifactRemoval, location: str) -> None:
        raise KeyboardInterrupt if killed else OSError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(ArtifactRemoval, "delete", fail)
        if killed:
            with pytest.raises(KeyboardInterrupt):
                stack.collect()
        else:
            assert stack.collect().failed == {f"run {each}": "no answer" for each in (run, other)}
    assert stack.of(run)
    told = stack.collect(check=True)
    assert (told.runs, told.resumed, told.as_dict()["changed"]) == (0, 2, True)
    assert stack.of(run)
    assert stack.collect().resumed == 2
    assert not stack.of(run)
    assert not stack.of(other)
    assert stack.collect().as_dict()["changed"] is False


def test_a_damaged_journal_is_refused(stack: Stack) -> None:
    stack.journal.write_text("{")
    try:
        with pytest.raises(JournalError, match="damaged"):
            stack.collect()
    finally:
        stack.journal.unlink()
