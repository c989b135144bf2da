"""Runs in a client container: fills MLflow with one of everything that has artifacts, and much of some.

Prints JSON: the ids of what a reader needs to find it again.
"""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.pyfunc import PythonModel

ODD_NAMES = ("with space.txt", "ünïcödé.txt", "-dash", "a'quote.txt", "dir/deep/er.txt")


class Doubler(PythonModel):
    def predict(self, context, model_input):  # type hints would be checked
        return model_input * 2


def log_names(directory: Path) -> None:
    for name in ODD_NAMES:
        path = directory / "names" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the file {name}")
    mlflow.log_artifacts(str(directory / "names"), "names")


def log_many(directory: Path, count: int) -> None:
    for number in range(count):
        path = directory / "many" / str(number % 50) / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1000 + number % 7))
    mlflow.log_artifacts(str(directory / "many"), "many")


def log_large(directory: Path, mebibytes: int) -> None:
    path = directory / "large.bin"
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    mlflow.log_artifact(str(path))


def register(client: MlflowClient, run_id: str) -> str:
    logged = mlflow.pyfunc.log_model(name="model", python_model=Doubler(), pip_requirements=[])
    client.create_registered_model("doubler")
    client.create_model_version("doubler", source=f"models:/{logged.model_id}", model_id=logged.model_id)
    mlflow.log_artifacts(mlflow.artifacts.download_artifacts(logged.model_uri), "saved model")
    raw = f"{mlflow.get_artifact_uri()}/saved%20model"
    client.create_model_version("doubler", source=raw, run_id=run_id)
    client.set_registered_model_alias("doubler", "champion", "1")
    return logged.model_id


def main(small_files: int, large_mebibytes: int) -> None:
    client = MlflowClient()
    # MLflow's client sends a request again when the answer was lost, and create_experiment then says that there is
    # one already; set_experiment takes it.
    experiment = mlflow.set_experiment(sys.argv[3] if len(sys.argv) > 3 else "everything").experiment_id
    ids = {"experiment": experiment}
    with TemporaryDirectory() as scratch, mlflow.start_run() as parent:
        ids["parent"] = parent.info.run_id
        log_names(Path(scratch))
        log_many(Path(scratch), small_files)
        log_large(Path(scratch), large_mebibytes)
        ids["model"] = register(client, parent.info.run_id)
        source = Path(scratch, "data.csv")
        source.write_text("x\n1\n")
        mlflow.log_input(mlflow.data.from_pandas(pd.DataFrame({"x": [1]}), source=str(source)), "training")
        with mlflow.start_run(nested=True) as child:
            ids["child"] = child.info.run_id
            mlflow.log_text("nested", "nested.txt")
    with mlflow.start_run() as gone:
        mlflow.log_text("deleted, but not forgotten", "a.txt")
    client.delete_run(gone.info.run_id)
    ids["deleted"] = gone.info.run_id
    with mlflow.start_span("question") as span:
        span.set_inputs({"asked": "what?"})
    mlflow.flush_trace_async_logging()
    ids["trace"] = span.trace_id
    print(json.dumps(ids))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
