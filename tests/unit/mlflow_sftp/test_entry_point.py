"""MLflow resolves sftp:// to this store, whichever of the two is imported first."""

import subprocess
import sys

import pytest

ASK = (
    "from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository as get;"
    "print(type(get('sftp://host/path')).__module__)"
)


@pytest.mark.parametrize(
    "first",
    [
        "import mlflow",
        "import mlflow_sftp.mlflow_plugin.artifact_repository",
        "import mlflow_sftp.mlflow_plugin.exceptions",
    ],
)
def test_sftp_resolves_to_this_store(first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{first};{ASK}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "mlflow_sftp.mlflow_plugin.artifact_repository"
    assert "Failure attempting to register" not in done.stderr
