"""One run from images to registered model."""

import sys
from dataclasses import dataclass
from urllib.parse import quote

import mlflow
from mlflow.models import infer_signature
from sklearn.pipeline import Pipeline

from experiments.image_scoring import data, plots, tracking
from experiments.image_scoring.cli import Settings
from experiments.image_scoring.data import Digits
from experiments.image_scoring.model import HYPERPARAMETERS, Scores, Trainer


@dataclass(frozen=True)
class Result:
    """Where to find what the run left behind. `links` are for a browser; empty without a web address."""

    experiment_id: str
    run_id: str
    run_name: str
    tracking_uri: str
    artifact_uri: str
    model_uri: str
    model_version: str | None
    metrics: dict[str, float]
    links: dict[str, str]


def execute(settings: Settings) -> Result:
    """Train, score and track.

    Raises:
        TrackingError: MLflow or its artifact store could not be used.
    """
    if settings.tracking_uri:
        mlflow.set_tracking_uri(settings.tracking_uri)
    digits = data.load(settings.seed)
    params = {"epochs": settings.epochs, "seed": settings.seed, **HYPERPARAMETERS}
    with tracking.run(settings.experiment, settings.run_name) as run:
        tracking.check_store(params)
        mlflow.log_params(params)
        trainer = _train(digits, settings)
        scores = trainer.score(digits.test)
        metrics = scores.metrics("test")
        mlflow.log_metrics(metrics)
        _log_pictures(scores)
        mlflow.log_table(scores.table(), "scores.json")
        model_uri, version = log_model(trainer.model, digits, settings.register)
    return result_of(settings, run, model_uri, version, metrics)


def result_of(
    settings: Settings, run: mlflow.ActiveRun, model_uri: str, version: str | None, metrics: dict[str, float]
) -> Result:
    """Say where to find what a run left behind."""
    return Result(
        experiment_id=run.info.experiment_id,
        run_id=run.info.run_id,
        run_name=run.info.run_name,
        tracking_uri=tracking.redacted(mlflow.get_tracking_uri()),
        artifact_uri=run.info.artifact_uri,
        model_uri=model_uri,
        model_version=version,
        metrics=metrics,
        links=links(settings, run.info.experiment_id, run.info.run_id, version),
    )


def _train(digits: Digits, settings: Settings) -> Trainer:
    trainer = Trainer(digits, settings.seed)
    for epoch, metrics in enumerate(trainer.epochs(settings.epochs), start=1):
        mlflow.log_metrics(metrics, step=epoch)
        values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        print(f"epoch {epoch}/{settings.epochs}  {values}", file=sys.stderr)
    return trainer


def _log_pictures(scores: Scores) -> None:
    mlflow.log_figure(plots.confusion(scores), "plots/confusion_matrix.png")
    mlflow.log_figure(plots.best_and_worst(scores), "plots/best_and_worst.png")


def log_model(model: Pipeline, digits: Digits, register: str | None) -> tuple[str, str | None]:
    """Log the model to the active run; returns its URI and, if it was registered, its version."""
    example = digits.train.pixels[:5]
    info = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(example, model.predict_proba(example)),
        input_example=example,
        pyfunc_predict_fn="predict_proba",
        registered_model_name=register,
        skops_trusted_types=["sklearn.neural_network._stochastic_optimizers.AdamOptimizer"],
        # Named here because MLflow would find out by loading the model in another process.
        pip_requirements=mlflow.sklearn.get_default_pip_requirements(include_skops=True),
    )
    version = info.registered_model_version
    return info.model_uri, None if version is None else str(version)


def links(settings: Settings, experiment_id: str, run_id: str, version: str | None) -> dict[str, str]:
    """Pages of a run for a browser, by name; none where nothing has a web address."""
    base = (settings.ui_url or tracking.redacted(mlflow.get_tracking_uri())).rstrip("/")
    if not base.startswith(("http://", "https://")):
        return {}
    experiment = f"{base}/#/experiments/{experiment_id}"
    pages = {"run": f"{experiment}/runs/{run_id}", "artifacts": f"{experiment}/runs/{run_id}/artifacts"}
    if settings.register and version:
        pages["model"] = f"{base}/#/models/{quote(settings.register, safe='')}/versions/{version}"
    return pages
