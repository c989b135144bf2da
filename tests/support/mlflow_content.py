"""A tracking database with one of everything that holds an artifact location, made by MLflow itself."""

from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.pyfunc import PythonModel

ODD_NAMES = ("plain.txt", "with space.txt", "ünïcödé.txt", "per%20cent.txt", "-dash", "dir/deep/er.txt")


class _Doubler(PythonModel):
    def predict(
        self, context: object, model_input: pd.DataFrame
    ) -> pd.DataFrame:  # type hints would be checked
        return model_input * 2


@dataclass
class Content:
    """What was created; `root` is the artifact root."""

    root: Path
    experiment: str = ""
    odd_experiment: str = ""
    deleted_experiment: str = ""
    runs: dict[str, str] = field(default_factory=dict)
    model_id: str = ""
    trace_id: str = ""


def create_content(database_uri: str, root: Path, odd_location: str | None = None) -> Content:
    """Fill a new database: experiments (one deleted), runs, a model and its versions, a trace, a dataset.

    `odd_location` is the artifact location of the second experiment; by default a directory below `root`
    whose name needs encoding.
    """
    content = Content(root)
    mlflow.set_tracking_uri(database_uri)
    mlflow.set_registry_uri(database_uri)
    client = MlflowClient(database_uri)
    content.experiment = client.create_experiment("main", artifact_location=f"{root}/1")
    content.odd_experiment = client.create_experiment(
        "odd", artifact_location=odd_location or f"{root}/odd name %2541"
    )
    content.deleted_experiment = client.create_experiment(
        "deleted", artifact_location=f"file://{root}/deleted"
    )
    _runs(content, client)
    _models(content, client)
    _trace(content)
    client.delete_run(content.runs["deleted"])
    client.delete_experiment(content.deleted_experiment)
    return content


def _runs(content: Content, client: MlflowClient) -> None:
    mlflow.set_experiment(experiment_id=content.experiment)
    with mlflow.start_run() as parent, mlflow.start_run(nested=True) as child:
        content.runs.update(parent=parent.info.run_id, child=child.info.run_id)
        frame = pd.DataFrame({"x": [1, 2]})
        source = content.root / "data.csv"
        source.write_text("x\n1\n2\n")
        mlflow.log_input(mlflow.data.from_pandas(frame, source=str(source)), "training")
        mlflow.log_param("where", f"{content.root}/somewhere")
    for name in ("parent", "child"):
        for path in ODD_NAMES:
            directory, _, file = path.rpartition("/")
            local = content.root.parent / "made" / file
            local.parent.mkdir(exist_ok=True)
            local.write_text(f"{name}: {path}")
            client.log_artifact(content.runs[name], str(local), directory or None)
    content.runs["deleted"] = client.create_run(content.experiment).info.run_id
    client.log_text(content.runs["deleted"], "gone?", "a.txt")
    content.runs["odd"] = client.create_run(content.odd_experiment).info.run_id
    client.log_text(content.runs["odd"], "odd", "a.txt")
    content.runs["in_deleted"] = client.create_run(content.deleted_experiment).info.run_id
    client.log_text(content.runs["in_deleted"], "also", "a.txt")


def _models(content: Content, client: MlflowClient) -> None:
    with mlflow.start_run(run_id=content.runs["parent"]):
        logged = mlflow.pyfunc.log_model(name="model", python_model=_Doubler(), pip_requirements=[])
    content.model_id = logged.model_id
    client.create_registered_model("doubler")
    client.create_model_version("doubler", source=f"models:/{logged.model_id}", model_id=logged.model_id)
    raw = client.get_logged_model(logged.model_id).artifact_location
    client.create_model_version("doubler", source=raw, run_id=content.runs["parent"])
    by_run = f"runs:/{content.runs['parent']}/model"
    client.create_model_version("doubler", source=by_run, run_id=content.runs["parent"])
    client.set_registered_model_alias("doubler", "champion", "1")


def _trace(content: Content) -> None:
    mlflow.set_experiment(experiment_id=content.experiment)
    with mlflow.start_span("question") as span:
        span.set_inputs({"path": f"{content.root}/1"})
    content.trace_id = span.trace_id
    mlflow.flush_trace_async_logging()
