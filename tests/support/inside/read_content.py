"""Runs in a client container: reads everything back, through MLflow's client and through its server.

Takes the ids that make_content.py printed, prints JSON: SHA-256 by entity and path. Of the many small files, which
differ in nothing, the server is asked for one in fifty.
"""

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
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


def through_server(route: str, **query: str) -> str:
    url = f"{os.environ['MLFLOW_TRACKING_URI']}/{route}?{urlencode(query)}"
    with urlopen(url, timeout=600) as answer:
        return hashlib.file_digest(answer, "sha256").hexdigest()


def asked_for(name: str, path: str, ids: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Which route of the server gives a file of a run, a logged model or a version of a registered model."""
    if name == "model":
        route = f"ajax-api/2.0/mlflow/logged-models/{ids['model']}/artifacts/files"
        return route, {"artifact_file_path": path}
    if name.startswith("version "):
        version = name.removeprefix("version ")
        return "model-versions/get-artifact", {"name": "doubler", "version": version, "path": path}
    return "get-artifact", {"run_uuid": ids[name], "path": path}


def served_otherwise(found: dict[str, dict[str, str]], ids: dict[str, str]) -> list[str]:
    """Files of which the server gives other bytes than the client."""
    paths = [(name, path) for name, files in found.items() for path in files]
    many = [each for each in paths if each[1].startswith("many/")]
    asked = [each for each in paths if not each[1].startswith("many/")] + many[::50]

    def differs(name: str, path: str) -> bool:
        route, query = asked_for(name, path, ids)
        return through_server(route, **query) != found[name][path]

    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda each: differs(*each), asked)
        return [
            f"{name}: {path}" for (name, path), differing in zip(asked, results, strict=True) if differing
        ]


def main(ids: dict[str, str]) -> None:
    client = MlflowClient()
    frame = pd.DataFrame({"x": [1, 2]})
    files = {name: through_client(f"runs:/{ids[name]}/") for name in ("parent", "child", "deleted")}
    files["model"] = through_client(f"models:/{ids['model']}")
    for version in ("1", "2"):
        files[f"version {version}"] = through_client(f"models:/doubler/{version}")
    found: dict[str, object] = {**files, "served otherwise": served_otherwise(files, ids)}
    for uri in (f"models:/{ids['model']}", "models:/doubler@champion", "models:/doubler/2"):
        found[f"predicted by {uri}"] = mlflow.pyfunc.load_model(uri).predict(frame)["x"].tolist()
    found["trace"] = [span.inputs for span in client.get_trace(ids["trace"]).data.spans]
    print(json.dumps(found, sort_keys=True))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
