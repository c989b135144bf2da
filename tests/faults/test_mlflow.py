"""Faults between MLflow's client, its server and the storage, named by mlflow_artifact_roundtrip."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mlflow_sftp.errors import RoundTripError
from mlflow_sftp.operations.round_trip import translate_errors
from tests.faults.conftest import assert_no_secret, defective, options
from tests.support.ansible import run_module
from tests.support.mlflow_server import MlflowServer
from tests.support.server import free_port
from tests.support.sshd import SshServer

_RIVAL = """
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository


class Rival(LocalArtifactRepository):
    def __init__(self, artifact_uri, *arguments, **named):
        super().__init__("/nowhere")
"""


def diagnose(cause: str, remedy: str, given: dict[str, Any], limit: float = 40.0, **environment: str) -> str:
    """Run the round trip and return its message, having checked cause, remedy, silence and time."""
    start = time.monotonic()
    outcome = run_module("mlflow_artifact_roundtrip", {"size": 1000, **given}, environment=environment)
    assert time.monotonic() - start < limit
    assert_no_secret(outcome)
    assert outcome.failed
    assert outcome.result["cause"] == cause, outcome.output
    assert remedy in outcome.result["remedy"]
    assert "Traceback" not in outcome.output
    return str(outcome.result["msg"])


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """One SFTP server for all tests here."""
    with SshServer(tmp_path_factory.mktemp("sftp") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def mlflow(sftp: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One MLflow server in direct access, which knows only 127.0.0.1 as its name."""
    flags = ["--default-artifact-root", sftp.uri(), "--no-serve-artifacts", "--allowed-hosts", "127.0.0.1:*"]
    environment = {"MLFLOW_SFTP_SSH_CONFIG": str(sftp.ssh_config)}
    with MlflowServer(tmp_path_factory.mktemp("mlflow"), flags, environment) as server:
        yield server


def test_no_tracking_uri() -> None:
    diagnose("mlflow_no_tracking_uri", "MLFLOW_TRACKING_URI", {}, MLFLOW_TRACKING_URI="")


def test_server_is_down() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    diagnose("mlflow_unreachable", uri, {"tracking_uri": uri})


def test_server_does_not_know_its_name(mlflow: MlflowServer) -> None:
    uri = mlflow.uri.replace("127.0.0.1", "localhost")
    diagnose("mlflow_host_refused", "MLFLOW_SERVER_ALLOWED_HOSTS", {"tracking_uri": uri})


def test_run_is_unknown(mlflow: MlflowServer) -> None:
    given = {"tracking_uri": mlflow.uri, "state": "absent", "run_id": "0" * 32}
    diagnose("mlflow_run_missing", mlflow.uri, given)


@pytest.mark.parametrize(
    ("entry_points", "seen"),
    [("[mlflow.artifact_repository]\nsftp = rival:Rival\n", "rival.Rival"), ("", "pysftp")],
    ids=["another plugin", "no plugin"],
)
def test_plugin_is_not_active(
    sftp: SshServer, mlflow: MlflowServer, tmp_path: Path, entry_points: str, seen: str
) -> None:
    # Of two installed packages with one name, Python sees the first.
    metadata = tmp_path / "mlflow_sftp-0.0.dist-info"
    metadata.mkdir()
    (tmp_path / "rival.py").write_text(_RIVAL)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mlflow-sftp\nVersion: 0.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    message = diagnose(
        "plugin_not_active",
        "mlflow-sftp",
        {"tracking_uri": mlflow.uri},
        PYTHONPATH=f"{tmp_path}:.ansible/collections",
        MLFLOW_SFTP_SSH_CONFIG=str(sftp.ssh_config),
    )
    assert seen in message


def test_storage_is_down(sftp: SshServer, mlflow: MlflowServer) -> None:
    sftp.stop()
    try:
        message = diagnose(
            "artifact_store_failed",
            "sftp_check",
            {"tracking_uri": mlflow.uri},
            MLFLOW_SFTP_SSH_CONFIG=str(sftp.ssh_config),
        )
    finally:
        sftp.start()
    assert str(sftp.port) in message


@pytest.mark.full
def test_artifacts_are_stored_elsewhere(sftp: SshServer, tmp_path: Path) -> None:
    flags = ["--default-artifact-root", str(tmp_path / "artifacts"), "--no-serve-artifacts"]
    with MlflowServer(tmp_path / "mlflow", flags) as server:
        given = {"tracking_uri": server.uri, "expect_on_sftp": options(sftp)}
        message = diagnose("artifacts_elsewhere", "artifact_storage", given)
    assert str(tmp_path / "artifacts") in message


# The round trip itself leaves the location to the server, whose own root is never refused.
def test_location_is_on_another_host_than_the_root(mlflow: MlflowServer) -> None:
    client = MlflowClient(mlflow.uri)
    with pytest.raises(RoundTripError) as refused, translate_errors("creating an experiment"):
        client.create_experiment("elsewhere", artifact_location="sftp://freegee@other.host.ch:2121/artifacts")
    assert refused.value.cause == "mlflow_host_policy"
    assert "MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES=sftp" in refused.value.remedy


@contextmanager
def moved(mlflow: MlflowServer, **environment: str) -> Iterator[dict[str, Any]]:
    """A server on local storage, on the database of one that has a run on SFTP; options to ask it."""
    client = MlflowClient(mlflow.uri)
    client.create_run(client.create_experiment(f"before {secrets.token_hex(4)}"))
    flags = ["--default-artifact-root", str(mlflow.log.parent / "artifacts"), "--no-serve-artifacts"]
    with MlflowServer(mlflow.log.parent, flags, environment) as server:
        yield {"tracking_uri": server.uri, "earlier_runs": True}


def test_runs_made_before_the_store_changed(mlflow: MlflowServer, sftp: SshServer) -> None:
    with moved(mlflow) as given:
        message = diagnose("mlflow_host_policy", "moves the runs made before", given)
    assert sftp.uri() in message


@pytest.mark.full
def test_storage_of_runs_made_before_is_down(mlflow: MlflowServer, sftp: SshServer) -> None:
    environment = {
        "MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES": "sftp",
        "MLFLOW_SFTP_SSH_CONFIG": str(sftp.ssh_config),
        "MLFLOW_SFTP_RETRY_TIMEOUT": "1",
    }
    with moved(mlflow, **environment) as given:
        assert not run_module("mlflow_artifact_roundtrip", given).failed
        sftp.stop()
        try:
            message = diagnose("earlier_runs_unreadable", sftp.uri(), given)
        finally:
            sftp.start()
    assert "refused" in message


@pytest.mark.parametrize(
    ("defect", "cause", "remedy", "seen"),
    [
        ("data", "artifacts_differ", "Stop using the storage", "differing: hello.txt, large.bin"),
        ("names", "listing_differs", "hides files", "hullo.txt (6 bytes)"),
    ],
)
def test_storage_returns_something_else(
    tmp_path: Path, defect: str, cause: str, remedy: str, seen: str
) -> None:
    with SshServer(tmp_path / "sftp", config=defective(defect)) as storage:
        flags = ["--default-artifact-root", storage.uri(), "--no-serve-artifacts"]
        with MlflowServer(tmp_path / "mlflow", flags) as server:
            given = {"tracking_uri": server.uri}
            message = diagnose(cause, remedy, given, MLFLOW_SFTP_SSH_CONFIG=str(storage.ssh_config))
    assert seen in message


def test_server_holds_something_else(sftp: SshServer, mlflow: MlflowServer, tmp_path: Path) -> None:
    # It reads the very files of the sound server, and shows others.
    with SshServer(tmp_path / "other", config=defective("data")) as other:
        given = {"tracking_uri": mlflow.uri, "expect_on_sftp": options(other)}
        config = str(sftp.ssh_config)
        message = diagnose("bytes_differ_on_server", "sftp_path", given, MLFLOW_SFTP_SSH_CONFIG=config)
    assert "large.bin" in message
