"""How runs end, and what errors say; against MLflow's own SQLite store."""

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from experiments.image_scoring import tracking


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.create_experiment("test", artifact_location=str(tmp_path / "artifacts"))
    yield tmp_path / "artifacts"
    mlflow.set_tracking_uri(None)


def _status(run_id: str) -> str:
    return str(mlflow.get_run(run_id).info.status)


def test_a_run_that_ends_well_is_finished() -> None:
    with tracking.run("test", "a name") as run:
        pass

    assert _status(run.info.run_id) == "FINISHED"
    assert run.info.run_name == "a name"


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("bug"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")],
)
def test_a_run_that_breaks_says_how(error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), tracking.run("test", None) as run:
        raise error

    assert _status(run.info.run_id) == status
    assert mlflow.active_run() is None


def test_the_first_artifact_is_the_configuration() -> None:
    with tracking.run("test", None) as run:
        tracking.check_store({"seed": 7})

    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/config.json") == {"seed": 7}


def test_a_store_that_cannot_be_written_is_an_error(store: Path) -> None:
    store.write_text("a file where the directory should be")

    with (
        pytest.raises(tracking.TrackingError, match=r"cannot store an artifact at .*\n.*may be written"),
        tracking.run("test", None) as run,
    ):
        tracking.check_store({})

    assert _status(run.info.run_id) == "FAILED"


def test_impatience_yields_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)

    with tracking.impatient():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"

    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_errors_hold_no_password() -> None:
    mlflow.set_tracking_uri("http://user:s3cret@127.0.0.1:9")

    with pytest.raises(tracking.TrackingError) as caught, tracking.run("test", None):
        pass

    assert "127.0.0.1:9" in str(caught.value)
    assert "s3cret" not in str(caught.value)
