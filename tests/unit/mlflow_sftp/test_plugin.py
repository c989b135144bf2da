"""MLflow resolves sftp:// to this store, whichever of the two is imported first."""

import subprocess
import sys

import pytest

ASK = (
    "from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository as get;"
    "print(type(get('sftp://host/path')).__module__)"
)


@pytest.mark.parametrize(
    "first", ["import mlflow", "import mlflow_sftp.store", "import mlflow_sftp.mlflow_errors"]
)
def test_sftp_resolves_to_this_store(first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{first};{ASK}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "mlflow_sftp.store"
    assert "Failure attempting to register" not in done.stderr
