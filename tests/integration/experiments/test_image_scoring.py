"""The experiment as users start it, against a real MLflow server and a real SFTP server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from experiments.image_scoring import tracking
from tests.support.mlflow_server import MlflowServer
from tests.support.server import free_port
from tests.support.sshd import SshServer

MODULE = "experiments.image_scoring.entrypoint"
RUN_ARTIFACTS = ["config.json", "plots/best_and_worst.png", "plots/confusion_matrix.png", "scores.json"]
MODEL_ARTIFACTS = ["MLmodel", "input_example.json", "model.skops"]
# Most of it is for the imports, on a busy machine; left to itself, MLflow would try for four minutes.
PATIENCE_SECONDS = 90


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    directory = tmp_path_factory.mktemp("mlflow")
    with MlflowServer(directory, ["--artifacts-destination", f"{directory}/artifacts"]) as running:
        yield running


@pytest.fixture(scope="module")
def first(server: MlflowServer) -> dict[str, Any]:
    """The result of a run with a registered model."""
    return result(server, "--seed", "5", "--register", "digits of any kind")


@pytest.fixture
def tracked(server: MlflowServer) -> Iterator[None]:
    """MLflow in this process talks to `server`."""
    mlflow.set_tracking_uri(server.uri)
    yield
    mlflow.set_tracking_uri(None)


def start(
    server_uri: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, "--tracking-uri", server_uri, "--epochs", "3", *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(
    server: MlflowServer, *arguments: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    process = start(server.uri, "--json", *arguments, environment=environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    printed: dict[str, Any] = json.loads(out)
    return printed


def refusal(server_uri: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """The message of a run that ends with code 1 in time, prints no result and no traceback."""
    started = time.monotonic()
    process = start(server_uri, *arguments, environment=environment)
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - started < PATIENCE_SECONDS
    assert process.returncode == 1, err
    assert out == ""
    assert "Traceback" not in err
    return err


def files_below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_run_holds_everything(server: MlflowServer, first: dict[str, Any]) -> None:
    run = MlflowClient(server.uri).get_run(first["run_id"])

    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri == first["artifact_uri"]
    assert run.data.params == {
        "epochs": "3",
        "seed": "5",
        "hidden_units": "64",
        "learning_rate": "0.003",
        "batch_size": "64",
    }
    assert first["metrics"].items() <= run.data.metrics.items()
    assert (
        first["links"]["run"] == f"{server.uri}/#/experiments/{first['experiment_id']}/runs/{first['run_id']}"
    )


def test_metrics_are_logged_for_each_epoch(server: MlflowServer, first: dict[str, Any]) -> None:
    client = MlflowClient(server.uri)

    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        assert [metric.step for metric in client.get_metric_history(first["run_id"], name)] == [1, 2, 3]


def test_artifacts_come_back(server: MlflowServer, first: dict[str, Any], tmp_path: Path) -> None:
    MlflowClient(server.uri).download_artifacts(first["run_id"], "", str(tmp_path))

    assert files_below(tmp_path) == RUN_ARTIFACTS
    assert (tmp_path / "plots/confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["columns"] == ["image", "label", "prediction", "correct", "score", "confidence"]
    assert len(scores["data"]) == 360


def test_model_loads_by_its_registered_name(tracked: None, first: dict[str, Any]) -> None:
    assert first["model_version"] == "1"

    model = mlflow.pyfunc.load_model("models:/digits of any kind/1")

    probabilities = model.predict(np.zeros((2, 64)))
    assert probabilities.shape == (2, 10)
    assert np.allclose(probabilities.sum(axis=1), 1)


@pytest.mark.full
def test_same_seed_same_metrics(server: MlflowServer, first: dict[str, Any]) -> None:
    assert result(server, "--seed", "5")["metrics"] == first["metrics"]
    assert result(server, "--seed", "6")["metrics"] != first["metrics"]


def test_text_names_the_run(server: MlflowServer) -> None:
    process = start(server.uri, "--run-name", "by hand", "--ui-url", "http://ui.example/")
    out, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert "by hand (" in out
    assert "mlflow-artifacts:/" in out
    assert "http://ui.example/#/experiments/" in out


def test_stopped_run_is_killed(server: MlflowServer) -> None:
    process = start(server.uri, "--experiment", "stopped", "--epochs", "100000")
    assert process.stderr is not None
    assert any(line.startswith("epoch 2/") for line in process.stderr)

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode == 128 + signal.SIGTERM
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("stopped")
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["KILLED"]


def test_no_server() -> None:
    uri = f"http://127.0.0.1:{free_port()}"

    message = refusal(uri)

    assert f"error: cannot open a run at {uri}" in message
    assert "Connection refused" in message
    assert "MLFLOW_TRACKING_URI" in message


def test_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mlflow.set_tracking_uri(f"http://127.0.0.1:{listener.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(tracking.TrackingError, match="cannot open a run"), tracking.run("any", None):
            pass
        mlflow.set_tracking_uri(None)

    assert time.monotonic() - started < 20


def test_server_that_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with MlflowServer(tmp_path / "mlflow", ["--artifacts-destination", f"{tmp_path}/file/below"]) as server:
        message = refusal(server.uri)

    assert "error: cannot store an artifact at mlflow-artifacts:/" in message


@pytest.mark.sshd
@pytest.mark.parametrize("access", ["direct", "proxied"])
def test_artifacts_are_on_the_sftp_server(access: str, sshd: SshServer, tmp_path: Path) -> None:
    key = {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}
    flag = {"direct": "--default-artifact-root", "proxied": "--artifacts-destination"}[access]
    with MlflowServer(
        tmp_path / "mlflow", [flag, sshd.uri()], key if access == "proxied" else None
    ) as server:
        done = result(server, environment=key if access == "direct" else None)

    scheme = {"direct": sshd.uri(), "proxied": "mlflow-artifacts:"}[access]
    assert done["artifact_uri"].startswith(f"{scheme}/{done['experiment_id']}/")
    stored = sshd.root / done["experiment_id"]
    artifacts = stored / done["run_id"] / "artifacts"
    assert files_below(artifacts) == RUN_ARTIFACTS
    assert len(json.loads((artifacts / "scores.json").read_text())["data"]) == 360
    model = stored / "models" / done["model_uri"].removeprefix("models:/") / "artifacts"
    assert set(files_below(model)) >= set(MODEL_ARTIFACTS)
    assert mlflow.pyfunc.load_model(str(model)).predict(np.zeros((2, 64))).shape == (2, 10)


@pytest.mark.sshd
@pytest.mark.parametrize("access", ["direct", "proxied"])
def test_sftp_server_is_down(access: str, sshd: SshServer, tmp_path: Path) -> None:
    key = {"MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}
    flag = {"direct": "--default-artifact-root", "proxied": "--artifacts-destination"}[access]
    with MlflowServer(tmp_path / "mlflow", [flag, sshd.uri()], key) as server:
        sshd.stop()
        message = refusal(server.uri, environment=key)

    endpoint, remedy = {
        "direct": (sshd.uri(), f"mlflow-sftp check {sshd.uri()}"),
        "proxied": ("mlflow-artifacts:/", "the MLflow server stores for us: see its log"),
    }[access]
    assert f"error: cannot store an artifact at {endpoint}" in message
    assert remedy in message
