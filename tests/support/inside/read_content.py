"""Runs in a client container: reads everything back, through MLflow's client and through its server.

Takes the ids that make_content.py printed, prints JSON: SHA-256 by entity and path.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode
from urllib.request import urlopen

import mlflow
import pandas as pd
from mlflow import MlflowClient

# Written anew with every download of a registered model.
NOT_STORED = "registered_model_meta"


def digests(directory: str) -> dict[str, str]:
    files = sorted(path for path in Path(directory).rglob("*") if path.is_file() and path.name != NOT_STORED)
    return {str(path.relative_to(directory)): sha256(path) for path in files}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def through_client(uri: str) -> dict[str, str]:
    with TemporaryDirectory() as scratch:
        return digests(mlflow.artifacts.download_artifacts(uri, dst_path=scratch))


def through_server(run: str, path: str) -> str:
    query = urlencode({"run_uuid": run, "path": path})
    with urlopen(f"{os.environ['MLFLOW_TRACKING_URI']}/get-artifact?{query}", timeout=60) as answer:
        return hashlib.file_digest(answer, "sha256").hexdigest()


def main(ids: dict[str, str]) -> None:
    client = MlflowClient()
    frame = pd.DataFrame({"x": [1, 2]})
    found: dict[str, object] = {
        name: through_client(f"runs:/{ids[name]}/") for name in ("parent", "child", "deleted")
    }
    found["model"] = through_client(f"models:/{ids['model']}")
    for version in ("1", "2"):
        found[f"version {version}"] = through_client(f"models:/doubler/{version}")
    for uri in (f"models:/{ids['model']}", "models:/doubler@champion", "models:/doubler/2"):
        found[f"predicted by {uri}"] = mlflow.pyfunc.load_model(uri).predict(frame)["x"].tolist()
    found["trace"] = [span.inputs for span in client.get_trace(ids["trace"]).data.spans]
    found["through the server"] = {
        path: through_server(ids["parent"], path)
        for path in ("names/with space.txt", "large.bin", "many/7/7.bin")
    } | {"nested.txt": through_server(ids["child"], "nested.txt")}
    print(json.dumps(found, sort_keys=True))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
