"""What runs elsewhere: one trial, or one shard. Artifacts go from here to the store; only numbers are returned."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow.entities import Run
from sklearn.metrics import log_loss

from experiments.image_scoring import data, plots, tracking
from experiments.image_scoring.data import CLASSES, Images
from experiments.image_scoring.experiment import log_model
from experiments.image_scoring.grid import EarlierTries, Trial, Try, earlier_tries
from experiments.image_scoring.model import Scores, Trainer

TRIAL_TAG = "sweep.trial"
REPEATED_TAG = "sweep.repeated_by"
MODEL_TAG = "sweep.model_uri"
DIGESTS_TAG = "sweep.sha256"
# How often a try asks whether its run is still its own.
ASK_SECONDS = 5.0


@dataclass(frozen=True)
class Sweep:
    """What all trials and shards of a sweep share: the run above them, and how to reach it."""

    tracking_uri: str
    experiment_id: str
    run_id: str
    epochs: int
    seed: int


@dataclass(frozen=True)
class TrialJob:
    sweep: Sweep
    trial: Trial


@dataclass(frozen=True)
class ShardJob:
    """Scores the test images from `start` to before `stop` with the model at `model_uri`."""

    sweep: Sweep
    model_uri: str
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class TrialResult:
    """The run of a trial; `digests` has the SHA-256 of each file that it wrote beside the model."""

    number: int
    run_id: str
    model_uri: str
    metrics: dict[str, float]
    digests: dict[str, str]


@dataclass(frozen=True)
class ShardResult:
    """`loss` is the sum over `images`; `path` is below the artifacts of the sweep's run, `digest` its SHA-256."""

    number: int
    images: int
    correct: int
    loss: float
    path: str
    digest: str


def run_trial(job: TrialJob) -> TrialResult:
    """Train, and leave a run with parameters, metrics, artifacts and the model.

    A try that was begun before, and whose worker was lost, is ended; the result of one that was complete is returned.

    Raises:
        tracking.TrackingError: MLflow or the artifact store could not be used.
    """
    mlflow.set_tracking_uri(job.sweep.tracking_uri)
    earlier = _earlier(job)
    if earlier.finished:
        end_tries(earlier.abandoned, earlier.finished)
        return _result(job.trial.number, _run(earlier.finished))
    sweep, tags = job.sweep, {TRIAL_TAG: str(job.trial.number)}
    with tracking.child(sweep.experiment_id, sweep.run_id, job.trial.name, tags) as run:
        end_tries(earlier.abandoned, run.info.run_id)
        return _train(job, run.info.run_id)


def score_shard(job: ShardJob) -> ShardResult:
    """Score the shard's images, and write the table to the artifacts of the sweep's run.

    A repeated shard writes the same file again.

    Raises:
        tracking.TrackingError: MLflow or the artifact store could not be used.
    """
    mlflow.set_tracking_uri(job.sweep.tracking_uri)
    test = data.load(job.sweep.seed).test
    part = slice(job.start, job.stop)
    images = Images(test.pixels[part], test.labels[part], test.index[part])
    with _stored("load the model", job.model_uri):
        model = mlflow.sklearn.load_model(job.model_uri)
    scores = Scores(images, model.predict_proba(images.pixels))
    name = f"shard-{job.number:04}.json"
    with TemporaryDirectory() as directory, _stored("store an artifact", f"runs:/{job.sweep.run_id}"):
        file = Path(directory, name)
        file.write_text(json.dumps(scores.table()))
        mlflow.MlflowClient().log_artifact(job.sweep.run_id, str(file), "scores")
        digest = _digest(file)
    return ShardResult(
        number=job.number,
        images=len(images),
        correct=int((scores.predictions == images.labels).sum()),
        loss=float(log_loss(images.labels, scores.probabilities, labels=CLASSES, normalize=False)),
        path=f"scores/{name}",
        digest=digest,
    )


def end_tries(run_ids: tuple[str, ...], repeated_by: str | None = None) -> None:
    """End runs that nobody works for any more, as KILLED; the tag names the run that has taken their place."""
    client = mlflow.MlflowClient()
    with tracking.explained("end a run", mlflow.get_tracking_uri(), "see the server's log"):
        for run_id in run_ids:
            if repeated_by:
                client.set_tag(run_id, REPEATED_TAG, repeated_by)
            client.set_terminated(run_id, "KILLED")


def open_tries(sweep: Sweep) -> tuple[str, ...]:
    """Runs of the sweep's trials that are not ended."""
    return earlier_tries(_tries(sweep, "attributes.status = 'RUNNING'")).abandoned


def _earlier(job: TrialJob) -> EarlierTries:
    return earlier_tries(_tries(job.sweep, f"tags.`{TRIAL_TAG}` = '{job.trial.number}'"))


def _tries(sweep: Sweep, condition: str) -> list[Try]:
    below = f"tags.`mlflow.parentRunId` = '{sweep.run_id}' and {condition}"
    with tracking.explained("look for runs", mlflow.get_tracking_uri(), "see the server's log"):
        found = mlflow.MlflowClient().search_runs(
            [sweep.experiment_id], below, order_by=["attributes.start_time ASC"]
        )
    return [Try(run.info.run_id, run.info.status) for run in found]


def _run(run_id: str) -> Run:
    with tracking.explained("read a run", mlflow.get_tracking_uri(), "see the server's log"):
        return mlflow.MlflowClient().get_run(run_id)


def _result(number: int, run: Run) -> TrialResult:
    tags = run.data.tags
    return TrialResult(
        number, run.info.run_id, tags[MODEL_TAG], dict(run.data.metrics), json.loads(tags[DIGESTS_TAG])
    )


def _train(job: TrialJob, run_id: str) -> TrialResult:
    params = {"epochs": job.sweep.epochs, "seed": job.sweep.seed, **job.trial.hyperparameters}
    mlflow.log_params(params)
    digits = data.load(job.sweep.seed)
    trainer = Trainer(digits, job.sweep.seed, job.trial.hyperparameters)
    asked = time.monotonic()
    metrics: dict[str, float] = {}
    for epoch, metrics in enumerate(trainer.epochs(job.sweep.epochs), start=1):
        mlflow.log_metrics(metrics, step=epoch)
        if time.monotonic() - asked > ASK_SECONDS:
            _require_own(run_id)
            asked = time.monotonic()
    scores = trainer.score(digits.validation)
    model_uri, _ = log_model(trainer.model, digits, None)
    digests = _write_artifacts({"trial": asdict(job.trial), **params}, scores)
    mlflow.set_tags({MODEL_TAG: model_uri, DIGESTS_TAG: json.dumps(digests)})
    _require_own(run_id)
    return TrialResult(job.trial.number, run_id, model_uri, metrics, digests)


def _write_artifacts(params: dict[str, object], scores: Scores) -> dict[str, str]:
    """Write the files of a trial to its run's artifacts; returns the SHA-256 of each by path."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "config.json").write_text(json.dumps(params, indent=2))
        (directory / "validation.json").write_text(json.dumps(scores.table()))
        (directory / "plots").mkdir()
        plots.confusion(scores).savefig(directory / "plots/confusion_matrix.png")
        mlflow.log_artifacts(name)
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        return {str(path.relative_to(directory)): _digest(path) for path in files}


def _require_own(run_id: str) -> None:
    status = _run(run_id).info.status
    if status != "RUNNING":
        raise tracking.EndedElsewhereError(f"run {run_id} was ended as {status} meanwhile")


@contextmanager
def _stored(operation: str, endpoint: str) -> Iterator[None]:
    with tracking.explained(operation, endpoint, "check the artifact store, and the log of the worker"):
        yield


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
