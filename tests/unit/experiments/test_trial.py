"""What a trial that is begun again does with the runs of the tries before; against MLflow's own SQLite store."""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from experiments.image_scoring import tracking, trial
from experiments.image_scoring.grid import GRID
from experiments.image_scoring.trial import Sweep, TrialJob, TrialResult


@pytest.fixture
def job(tmp_path: Path) -> TrialJob:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    experiment = MlflowClient(uri).create_experiment("test", artifact_location=str(tmp_path / "artifacts"))
    parent = MlflowClient(uri).create_run(experiment).info.run_id
    return TrialJob(Sweep(uri, experiment, parent, epochs=1, seed=0), GRID[1])


def begun(job: TrialJob, number: int = 1, status: str = "RUNNING", **tags: str) -> str:
    """A run of an earlier try of a trial."""
    client = MlflowClient(job.sweep.tracking_uri)
    all_tags = {"mlflow.parentRunId": job.sweep.run_id, "sweep.trial": str(number), **tags}
    run_id = client.create_run(job.sweep.experiment_id, tags=all_tags).info.run_id
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    return str(run_id)


def trained(job: TrialJob, run_id: str) -> TrialResult:
    return TrialResult(job.trial.number, run_id, "models:/m", {}, {})


def test_the_run_of_a_lost_try_is_ended(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_train", trained)
    lost, of_another = begun(job), begun(job, number=2)

    done = trial.run_trial(job)

    runs = {run_id: mlflow.get_run(run_id) for run_id in (lost, of_another, done.run_id)}
    assert [run.info.status for run in runs.values()] == ["KILLED", "RUNNING", "FINISHED"]
    assert runs[lost].data.tags["sweep.repeated_by"] == done.run_id
    assert trial.open_tries(job.sweep) == (of_another,)


def test_a_try_that_was_complete_is_not_made_again(job: TrialJob) -> None:
    tags = {"sweep.model_uri": "models:/m", "sweep.sha256": json.dumps({"config.json": "ab"})}
    complete = begun(job, status="FINISHED", **tags)

    assert trial.run_trial(job) == TrialResult(1, complete, "models:/m", {}, {"config.json": "ab"})


def test_a_try_whose_run_somebody_has_ended_leaves_that_as_it_is(
    job: TrialJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_meanwhile(job: TrialJob, run_id: str) -> TrialResult:
        MlflowClient().set_terminated(run_id, "KILLED")
        trial._require_own(run_id)
        return trained(job, run_id)

    monkeypatch.setattr(trial, "_train", ended_meanwhile)

    with pytest.raises(tracking.EndedElsewhereError, match="was ended as KILLED meanwhile"):
        trial.run_trial(job)

    (run,) = MlflowClient().search_runs([job.sweep.experiment_id], "tags.`sweep.trial` = '1'")
    assert run.info.status == "KILLED"
