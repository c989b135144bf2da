"""`mlflow-sftp empty-database`: what a copy made goes, and nothing else."""

import itertools
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from mlflow_sftp.cli.main import main
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_copy import copy_database
from tests.support.postgres import PostgresServer

_numbers = itertools.count()


def call(uri: str) -> Result:
    return CliRunner().invoke(main, ["empty-database", "--json"], env={"MLFLOW_BACKEND_STORE_URI": uri})


@pytest.fixture(params=["sqlite", "postgresql"])
def copied(request: pytest.FixtureRequest, filled: Path, postgres: PostgresServer) -> str:
    """The URI of a database with one of everything."""
    if request.param == "postgresql":
        request.getfixturevalue("moved")
        return postgres.create(f"copied_{next(_numbers)}", "moved")
    return f"sqlite:///{filled}"


def tables(uri: str) -> set[str]:
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    return set(sa.inspect(engine).get_table_names())


def execute(uri: str, statement: str) -> None:
    with sa.create_engine(uri, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(statement)


def test_an_emptied_database_can_be_copied_to_again(filled: Path, empty: str) -> None:
    with Database(f"sqlite:///{filled}") as source:
        copy_database(source, empty)
        # As the next server does.
        execute(empty, "UPDATE runs SET name = 'since'")
        emptied = call(empty)
        assert emptied.exit_code == 0, emptied.output
        assert json.loads(emptied.stdout)["tables"] > 50
        assert tables(empty) == set()
        assert copy_database(source, empty).changed


def test_a_second_call_finds_nothing(copied: str) -> None:
    assert call(copied).exit_code == 0
    again = call(copied)
    assert (again.exit_code, json.loads(again.stdout)["tables"]) == (0, 0)


def test_the_file_goes_with_what_a_killed_server_left_beside_it(filled: Path) -> None:
    beside = [filled.with_name(f"{filled.name}-{suffix}") for suffix in ("wal", "shm")]
    for path in beside:
        path.write_bytes(b"")
    assert call(f"sqlite:///{filled}").exit_code == 0
    assert [path for path in (filled, *beside) if path.exists()] == []


def test_tables_of_somebody_else_are_a_reason_to_stop(copied: str) -> None:
    execute(copied, "CREATE TABLE users (id INTEGER)")
    before = tables(copied)
    refused = call(copied)
    assert refused.exit_code == 1
    assert "does not make: users" in refused.output
    assert tables(copied) == before


def test_a_database_in_use_is_left_alone(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow_sftp.database.database.LOCK_TIMEOUT_S", 1)
    with closing(sqlite3.connect(filled, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        refused = call(f"sqlite:///{filled}")
    assert (refused.exit_code, "another program is writing" in refused.output) == (1, True)
    assert filled.exists()
