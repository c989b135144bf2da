"""The way to MLflow: connects, opens the run, and turns MLflow's failures into one clear sentence."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

# MLflow asks a dead server for four minutes, its SFTP store for two. Before there is any work to lose,
# 20 s are enough: two tries of 7 s where packets are silently dropped, and pauses of a second or two.
IMPATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "7",
    "MLFLOW_SFTP_CONNECT_TIMEOUT": "7",
    "MLFLOW_SFTP_STALL_TIMEOUT": "7",
    "MLFLOW_SFTP_RETRY_TIMEOUT": "7",
}
FAILURES = (MlflowException, OSError)


class TrackingError(Exception):
    """MLflow could not be used: operation, endpoint, what was seen, what to do."""


class EndedElsewhereError(Exception):
    """Somebody else has ended the run that this process works for: a repeated trial, or the end of the sweep."""


@contextmanager
def run(experiment: str, name: str | None) -> Iterator[mlflow.ActiveRun]:
    """An MLflow run in `experiment`, made if needed; ends as FINISHED, FAILED or (interrupted) KILLED.

    Raises:
        TrackingError: the tracking server does not answer, refuses, or fails while the run is open.
    """
    with _ended_well_or_not(_open(experiment, name)) as active:
        yield active


@contextmanager
def child(
    experiment_id: str, parent_run_id: str, name: str, tags: Mapping[str, str]
) -> Iterator[mlflow.ActiveRun]:
    """An MLflow run below another one; ends as `run` does, and patiently: there may be work to lose elsewhere.

    Raises:
        TrackingError: as for `run`.
        EndedElsewhereError: the caller's own, passed on; the run ends as KILLED, as it was.
    """
    with explained("open a run", mlflow.get_tracking_uri(), "if the server is still up, its log says more"):
        active = mlflow.start_run(
            experiment_id=experiment_id, run_name=name, parent_run_id=parent_run_id, tags=dict(tags)
        )
    with _ended_well_or_not(active):
        yield active


@contextmanager
def _ended_well_or_not(active: mlflow.ActiveRun) -> Iterator[mlflow.ActiveRun]:
    try:
        with explained(
            "record the run", mlflow.get_tracking_uri(), "if the server is still up, its log says more"
        ):
            yield active
            mlflow.end_run()
    except BaseException as error:
        failed = isinstance(error, Exception) and not isinstance(error, EndedElsewhereError)
        status = "FAILED" if failed else "KILLED"
        with suppress(*FAILURES), impatient():
            mlflow.end_run(status)
        raise


def check_store(config: Mapping[str, object]) -> None:
    """Store `config` as the run's first artifact, so that a broken store is found before any training.

    Raises:
        TrackingError: the artifact store cannot be reached or written.
    """
    uri = mlflow.get_artifact_uri()
    remedy = "check that this place exists and may be written"
    if uri.startswith("sftp:"):
        remedy = f"find the cause with: mlflow-sftp check {uri}"
    if uri.startswith("mlflow-artifacts:"):
        remedy = "the MLflow server stores for us: see its log"
    with explained("store an artifact", uri, remedy), impatient(), TemporaryDirectory() as directory:
        file = Path(directory, "config.json")
        file.write_text(json.dumps(dict(config), indent=2))
        # Not mlflow.log_artifact: MLflow would keep this repository, and its impatience, for the whole run.
        get_artifact_repository(uri).log_artifact(str(file))


@contextmanager
def explained(operation: str, endpoint: str, remedy: str) -> Iterator[None]:
    """Turn a failure of MLflow or of the network into a TrackingError."""
    try:
        yield
    except FAILURES as error:
        seen = f"{type(error).__name__}: {error}"
        raise TrackingError(redacted(f"cannot {operation} at {endpoint}: {seen}\n{remedy}")) from error


def redacted(text: str) -> str:
    """`text` without the password that the tracking URI may hold."""
    password = urlsplit(mlflow.get_tracking_uri()).password
    return text.replace(password, "***") if password else text


@contextmanager
def impatient() -> Iterator[None]:
    """Let MLflow and its SFTP store give up within 20 s, unless the environment says otherwise."""
    added = {name: value for name, value in IMPATIENCE.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _open(experiment: str, name: str | None) -> mlflow.ActiveRun:
    uri = mlflow.get_tracking_uri()
    remedy = "start the server, or name another one with --tracking-uri or MLFLOW_TRACKING_URI"
    with explained("open a run", uri, remedy), impatient():
        mlflow.set_experiment(experiment)
        return mlflow.start_run(run_name=name)
