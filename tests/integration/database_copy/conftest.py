"""A database with one of everything, and empty ones on a real PostgreSQL server."""

import itertools
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.mlflow_records import create_records
from tests.support.postgres import PostgresServer, server_programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    if server_programs() is None:
        pytest.skip("PostgreSQL is not installed (tests/apt-packages.txt)")
    with PostgresServer() as server:
        # Sorts text in another way than SQLite does.
        server.sql("CREATE DATABASE sorted LOCALE_PROVIDER icu ICU_LOCALE 'en-US' TEMPLATE template0")
        yield server


_numbers = itertools.count()

ROLLUP = (
    "INSERT INTO sql_assessment_daily_rollups (id, experiment_id, rollup_day, metric_name, grouping_set, "
    "sample_count) VALUES (41, 1, '2026-02-28', 'm', 'g', 1)"
)


@pytest.fixture
def empty(postgres: PostgresServer) -> str:
    """The URI of a new database without tables."""
    return postgres.create(f"empty_{next(_numbers)}", "sorted")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "mlflow.db"
    create_records(f"sqlite:///{file}", str(file.parent / "artifacts"))
    with closing(sqlite3.connect(file)) as connection, connection:
        # What MLflow writes of its own accord, sooner or later.
        connection.execute(ROLLUP)
        connection.execute("UPDATE evaluation_dataset_records SET outputs = NULL, source = 'null'")
    return file


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> Path:
    """A private copy of an SQLite database with one of everything."""
    return Path(shutil.copyfile(template, tmp_path / "filled.db"))


@pytest.fixture(scope="session")
def moved(template: Path, postgres: PostgresServer) -> str:
    """The URI of a PostgreSQL database that is a copy of the template."""
    from mlflow_sftp.database.database import Database
    from mlflow_sftp.operations.database_copy import copy_database

    uri = postgres.create("moved", "sorted")
    with Database(f"sqlite:///{template}") as source:
        copy_database(source, uri)
    return uri


Dump = dict[str, list[tuple[object, ...]]]


@pytest.fixture(scope="session")
def dump() -> Callable[[Path], Dump]:
    """A function that reads all that an SQLite file holds, with the type of each value as it is stored."""

    def read(file: Path) -> Dump:
        with closing(sqlite3.connect(file)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return {name: _rows(connection, name) for (name,) in names}

    def _rows(connection: sqlite3.Connection, name: str) -> list[tuple[object, ...]]:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({name})")]
        typed = ", ".join(f'"{column}", typeof("{column}")' for column in columns)
        return sorted(connection.execute(f"SELECT {typed} FROM {name}").fetchall(), key=repr)

    return read
