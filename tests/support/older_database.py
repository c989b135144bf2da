"""Databases with the schema of an older MLflow, made by the installed one's own migrations up to there, with rows."""

import signal
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base

# The heads of MLflow 3.10 and 3.13.
REVISIONS = {"3.10": "1b5f0d9ad7c1", "3.13": "da6fb0208061"}
_PARAMS, _METRICS = 3, 5
# A server that is killed in a transaction which was too large for its memory: the file is half written.
_KILLED_WRITER = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 5")
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN")
connection.execute("UPDATE params SET value = 'half written' || hex(randomblob(200))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def create_older(uri: str, revision: str, runs: int) -> None:
    """Make an MLflow database at `revision` in an empty one, with `runs` runs and a trace each."""
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    Base.metadata.create_all(engine)
    config = utils._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    with engine.begin() as connection:
        for table, rows in _rows(runs).items():
            if rows:
                connection.execute(sa.insert(metadata.tables[table]), rows)


def _rows(runs: int) -> dict[str, list[dict[str, object]]]:
    ids = [f"{number:032x}" for number in range(runs)]
    return {
        "experiments": [
            {
                "experiment_id": 7,
                "name": "old",
                "artifact_location": "/mlruns/7",
                "lifecycle_stage": "active",
                "workspace": "default",
            }
        ],
        "runs": [
            {
                "run_uuid": run,
                "name": f"run {run}",
                "experiment_id": 7,
                "status": "FINISHED",
                "lifecycle_stage": "active",
                "source_type": "LOCAL",
                "user_id": "somebody",
                "artifact_uri": f"/mlruns/7/{run}",
                "start_time": 1,
            }
            for run in ids
        ],
        "params": [
            {"run_uuid": run, "key": f"p{n}", "value": f"{run} \\. {n}"}
            for run in ids
            for n in range(_PARAMS)
        ],
        "metrics": [
            {"run_uuid": run, "key": "loss", "value": n / 7, "timestamp": n, "step": n, "is_nan": False}
            for run in ids
            for n in range(_METRICS)
        ],
        "tags": [{"run_uuid": run, "key": "note", "value": "SET transaction_timeout = 0;"} for run in ids],
        "trace_info": [
            {
                "request_id": f"tr-{run}",
                "experiment_id": 7,
                "timestamp_ms": 1,
                "execution_time_ms": 2,
                "status": "OK",
            }
            for run in ids
        ],
    }


def content(uri: str) -> dict[str, list[tuple[object, ...]]]:
    """What any version must still hold of `create_older`'s rows."""
    queries = {
        "experiments": "SELECT experiment_id, name, artifact_location FROM experiments WHERE experiment_id = 7",
        "runs": "SELECT run_uuid, name, artifact_uri, status FROM runs",
        "params": "SELECT run_uuid, key, value FROM params",
        "metrics": "SELECT run_uuid, key, value, step FROM metrics",
        "tags": "SELECT run_uuid, key, value FROM tags",
        "traces": "SELECT request_id, experiment_id FROM trace_info",
    }
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return {
            name: sorted(tuple(row) for row in connection.execute(sa.text(query)))
            for name, query in queries.items()
        }


def revision_of(uri: str) -> str:
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())


def beside(file: Path) -> list[str]:
    """The names of what lies in the directory of `file`, but for that."""
    return sorted(path.name for path in file.parent.iterdir() if path != file)


def leave_journal(file: Path) -> None:
    """Kill a writer of an SQLite database in the middle: the file is half changed, its journal lies beside it."""
    killed = subprocess.run([sys.executable, "-c", _KILLED_WRITER, str(file)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert file.with_name(f"{file.name}-journal").stat().st_size > 10_000
