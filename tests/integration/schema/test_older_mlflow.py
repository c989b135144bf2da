"""Databases that older MLflows really made, filled through their own clients, migrated and read back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_backup import back_up
from mlflow_sftp.operations.database_migration import migrate
from mlflow_sftp.operations.database_restore import restore
from tests.support.older_database import REVISIONS, revision_of
from tests.support.postgres import PostgresServer

# Two environments of MLflow are made, of a minute or two each.
pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1800)]

FILL = """
import json, sys, mlflow
from mlflow import MlflowClient
uri, root, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
mlflow.set_tracking_uri(uri)
client = MlflowClient(uri, uri)
experiment = client.create_experiment("old", artifact_location=root)
made = {}
for number in range(runs):
    run = client.create_run(experiment, run_name=f"run {number}").info.run_id
    client.log_param(run, "number", str(number))
    client.log_metric(run, "loss", number / 7, step=number)
    client.set_tag(run, "note", "n" * number)
    made[run] = number
client.delete_run(run)
client.create_registered_model("model")
client.create_model_version("model", source=f"{root}/m", run_id=next(iter(made)))
client.set_registered_model_alias("model", "champion", 1)
mlflow.set_experiment(experiment_id=experiment)
with mlflow.start_span("question") as span:
    span.set_inputs({"n": 1})
mlflow.flush_trace_async_logging()
print(json.dumps({"experiment": experiment, "runs": made, "deleted": run, "trace": span.trace_id}))
"""
RUNS = 60


@pytest.fixture(scope="module", params=REVISIONS)
def old_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An MLflow's version, and the interpreter of an environment that has it."""
    version: str = request.param
    environment = tmp_path_factory.mktemp("old") / version
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    wanted = [f"mlflow=={version}.*", "psycopg[binary]"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return version, python


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_there_and_back(
    old_python: tuple[str, Path], kind: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    version, python = old_python
    uri = f"sqlite:///{tmp_path}/mlflow.db" if kind == "sqlite" else postgres.create(f"{kind}-{version}")
    filled = subprocess.run(
        [python, "-c", FILL, uri, str(tmp_path / "mlruns"), str(RUNS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert filled.returncode == 0, filled.stderr
    made = json.loads(filled.stdout.splitlines()[-1])
    assert revision_of(uri) == REVISIONS[version]
    backup = tmp_path / "backup"
    with Database(uri) as database:
        back_up(database, backup)
        done = migrate(database)
        assert done.before == REVISIONS[version]
        read_back(uri, made)
        assert restore(database, backup).revision == REVISIONS[version]
    # The old one works with it, which it would not do with any other schema.
    script = f"from mlflow import MlflowClient; print(MlflowClient('{uri}').get_run('{made['deleted']}').info.status)"
    again = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    with Database(uri) as database:
        migrate(database)
    read_back(uri, made)


def read_back(uri: str, made: dict[str, object]) -> None:
    client = MlflowClient(uri, uri)
    runs = made["runs"]
    assert isinstance(runs, dict)
    for run, number in runs.items():
        found = client.get_run(run)
        assert found.data.params == {"number": str(number)}
        assert found.data.metrics["loss"] == pytest.approx(number / 7)
        assert found.data.tags["note"] == "n" * number
        assert found.info.lifecycle_stage == ("deleted" if run == made["deleted"] else "active")
    assert client.get_model_version_by_alias("model", "champion").version in ("1", 1)
    trace = client.get_trace(str(made["trace"]), display=False)
    assert trace.info.experiment_id == made["experiment"]
