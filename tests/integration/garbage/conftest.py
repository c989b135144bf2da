"""A database of MLflow's without a server, artifacts in a directory: what gc decides, on both kinds of database."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.garbage import Collected, collect
from tests.support.postgres import PostgresServer

DAY_MS = 86_400_000


@dataclass
class Deleted:
    """MLflow in which users delete."""

    uri: str
    root: Path
    journal: Path

    def __post_init__(self) -> None:
        self.client = MlflowClient(self.uri, self.uri)
        self.experiment = self.client.create_experiment(f"of users {time.time_ns()}", f"{self.root}/1")

    def run(self) -> str:
        """Log a run with a file, and delete it; returns its id."""
        run = str(self.client.create_run(self.experiment).info.run_id)
        self.client.log_text(run, "12345", "a.txt")
        self.client.delete_run(run)
        return run

    def set_back(self, days: int = 31) -> None:
        """Let whatever is deleted have been deleted so many days earlier."""
        for table, column in (
            ("runs", "deleted_time"),
            ("experiments", "last_update_time"),
            ("logged_models", "last_updated_timestamp_ms"),
        ):
            self.execute(
                f"UPDATE {table} SET {column} = {column} - {days * DAY_MS} WHERE lifecycle_stage = 'deleted'"
            )

    def collect(self, **more: object) -> Collected:
        given = {"days": 30, "journal": self.journal, "destination": str(self.root), **more}
        with Database(self.uri) as database:
            return collect(database, self.uri, **given)  # type: ignore[arg-type]

    def execute(self, statement: str) -> None:
        engine = sa.create_engine(self.uri)
        with engine.begin() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()

    def register(self, run: str, source: str) -> str:
        """Register a version that leads somewhere; returns the model's name."""
        name = f"registered {time.time_ns()}"
        self.client.create_registered_model(name)
        self.client.create_model_version(name, f"runs:/{run}/model", run)
        quoted = source.replace("'", "''")
        self.execute(
            f"UPDATE model_versions SET source = '{quoted}', storage_location = NULL WHERE name = '{name}'"
        )
        return name

    def has_files(self, run: str) -> bool:
        return (self.root / "1" / run / "artifacts/a.txt").exists()


@pytest.fixture(scope="module")
def sqlite_of_users(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('gc')}/mlflow.db"


@pytest.fixture(scope="module")
def postgres_of_users(postgres: PostgresServer) -> str:
    return postgres.create(f"gc_{time.time_ns()}")


@pytest.fixture(params=["sqlite", "postgres"])
def deleted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deleted]:
    (tmp_path / "store").mkdir()
    stack = Deleted(
        request.getfixturevalue(f"{request.param}_of_users"), tmp_path / "store", tmp_path / "gc.json"
    )
    yield stack
    # What a test keeps is not the next one's.
    stack.execute("UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL")
    stack.execute("UPDATE experiments SET lifecycle_stage = 'active'")
    stack.execute("DELETE FROM model_versions")
