"""A sweep: trials below one run, then the best one's model scores the test images in shards."""

import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

import mlflow
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.image_scoring import data, grid, tracking
from experiments.image_scoring.cli import Settings
from experiments.image_scoring.engines import Engine, engine
from experiments.image_scoring.experiment import Result, result_of
from experiments.image_scoring.trial import (
    ShardJob,
    ShardResult,
    Sweep,
    TrialJob,
    TrialResult,
    end_tries,
    open_tries,
    run_trial,
    score_shard,
)


@dataclass(frozen=True)
class SweepResult(Result):
    """Also what each trial and shard wrote; `best` is the run of the best trial, `model_uri` its model.

    `speed` is how many trials were trained, and images scored, a second, all workers together.
    """

    best: str
    speed: dict[str, float]
    trials: list[TrialResult]
    shards: list[ShardResult]


def execute(settings: Settings) -> SweepResult:
    """Train the trials, score the shards, and track all of it.

    Raises:
        NoEngineError: there is nothing to compute with; nothing was recorded.
        LostWorkersError: workers were lost again and again.
        TrackingError: MLflow or its artifact store could not be used.
    """
    if settings.tracking_uri:
        mlflow.set_tracking_uri(settings.tracking_uri)
    with (
        engine(settings.engine, settings.scheduler) as workers,
        tracking.run(settings.experiment, settings.run_name) as run,
    ):
        params = {
            "trials": settings.trials,
            "epochs": settings.epochs,
            "seed": settings.seed,
            "engine": settings.engine,
        }
        tracking.check_store(params)
        mlflow.log_params(params)
        sweep = Sweep(
            mlflow.get_tracking_uri(),
            run.info.experiment_id,
            run.info.run_id,
            settings.epochs,
            settings.seed,
        )
        begun = time.monotonic()
        try:
            trials = _run_trials(workers, sweep, settings.trials)
            trained = time.monotonic()
            best = trials[grid.best({each.number: each.metrics["validation_loss"] for each in trials})]
            shards = _score_shards(workers, sweep, best.model_uri, settings.shards)
            scored = time.monotonic()
        except BaseException:
            # Whoever works on one yet finds that it is ended, and stops.
            with suppress(tracking.TrackingError):
                end_tries(open_tries(sweep))
            raise
        metrics = _metrics(shards)
        speed = {
            "trials_per_second": len(trials) / (trained - begun),
            "images_per_second": sum(each.images for each in shards) / (scored - trained),
        }
        mlflow.log_metrics(metrics | speed)
        mlflow.set_tag("sweep.best", best.run_id)
        mlflow.log_dict({"trials": [asdict(each) for each in trials]}, "trials.json")
        version = _register(best.model_uri, settings.register)
    left = result_of(settings, run, best.model_uri, version, metrics)
    return SweepResult(**vars(left), best=best.run_id, speed=speed, trials=trials, shards=shards)


def _run_trials(workers: Engine, sweep: Sweep, count: int) -> list[TrialResult]:
    jobs = [TrialJob(sweep, trial) for trial in grid.GRID[:count]]
    done = []
    with _progress() as progress:
        task = progress.add_task("trials", total=count)
        for result in workers.completed(run_trial, jobs):
            done.append(result)
            loss = result.metrics["validation_loss"]
            progress.console.print(f"trial {result.number}  validation_loss {loss:.4f}", highlight=False)
            progress.advance(task)
    return sorted(done, key=lambda each: each.number)


def _score_shards(workers: Engine, sweep: Sweep, model_uri: str, parts: int) -> list[ShardResult]:
    ranges = grid.shards(len(data.load(sweep.seed).test), parts)
    jobs = [ShardJob(sweep, model_uri, number, each.start, each.stop) for number, each in enumerate(ranges)]
    done = []
    with _progress() as progress:
        task = progress.add_task("shards", total=len(jobs))
        for result in workers.completed(score_shard, jobs):
            done.append(result)
            progress.advance(task)
    return sorted(done, key=lambda each: each.number)


def _metrics(shards: list[ShardResult]) -> dict[str, float]:
    images = sum(each.images for each in shards)
    return {
        "test_loss": sum(each.loss for each in shards) / images,
        "test_accuracy": sum(each.correct for each in shards) / images,
    }


def _register(model_uri: str, name: str | None) -> str | None:
    return None if name is None else str(mlflow.register_model(model_uri, name).version)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
    )
