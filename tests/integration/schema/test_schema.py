"""`mlflow-sftp schema`: it tells what is there and touches nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from mlflow.version import VERSION

from tests.integration.schema.conftest import NEW, OLD, Older, Program
from tests.support.postgres import PostgresServer


def test_a_database_that_is_behind(older: Older, program: Program) -> None:
    answer = program(older.uri, "schema")
    assert (answer.code, answer.errors) == (0, "")
    steps, login = answer.result.pop("steps"), answer.result.pop("login")
    assert answer.result == {
        "contract": 1,
        "mlflow": VERSION,
        "state": "behind",
        "database": [OLD],
        "heads": [NEW],
        "left_over": [],
    }
    assert steps > 5
    assert (login["state"], login["database"]) == ("none", [])
    assert older.holds(OLD)


def test_an_sqlite_file_that_is_missing_is_not_made(tmp_path: Path, program: Program) -> None:
    answer = program(f"sqlite:///{tmp_path}/mlflow.db", "schema")
    assert (answer.code, answer.result["state"], answer.result["database"]) == (0, "empty", [])
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_tables_stays_without(tmp_path: Path, program: Program) -> None:
    (tmp_path / "mlflow.db").touch()
    assert program(f"sqlite:///{tmp_path}/mlflow.db", "schema").result["state"] == "empty"
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("mlflow.db", 0)]


def test_an_empty_postgresql_stays_empty(postgres: PostgresServer, program: Program, tmp_path: Path) -> None:
    uri = postgres.create(tmp_path.name)
    assert program(uri, "schema").result["state"] == "empty"
    assert sa.inspect(sa.create_engine(uri, poolclass=sa.NullPool)).get_table_names() == []


@pytest.mark.parametrize(
    "uri",
    ["sqlite:////nowhere/at/all/mlflow.db", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "sqlite:///"],
)
def test_a_directory_that_is_missing_is_an_error(uri: str, program: Program) -> None:
    answer = program(uri, "schema")
    assert (answer.code, answer.result["error"]["cause"]) == (1, "database")


@pytest.mark.parametrize(
    ("revision", "state"), [(NEW, "current"), (OLD, "behind"), ("fffffffffff0", "unknown"), ("", "unknown")]
)
def test_a_database_that_is_not_at_hand(tmp_path: Path, program: Program, revision: str, state: str) -> None:
    answer = program(f"sqlite:///{tmp_path}/mlflow.db", "schema", "--revision", revision)
    assert (answer.code, answer.result["state"], answer.result["database"]) == (0, state, [revision])
    assert bool(answer.result["steps"]) == (state == "behind")
    assert list(tmp_path.iterdir()) == []


def test_what_the_database_says_decides(sqlite_older: Older, program: Program) -> None:
    def after(statement: str) -> tuple[object, object]:
        with closing(sqlite3.connect(str(sqlite_older.file))) as connection:
            connection.execute(statement)
            connection.commit()
        result = program(sqlite_older.uri, "schema").result
        return result["state"], result["left_over"]

    assert after(f"UPDATE alembic_version SET version_num = '{NEW}'") == ("current", [])
    assert after("UPDATE alembic_version SET version_num = 'fffffffffff0'") == ("unknown", [])
    assert after(f"INSERT INTO alembic_version VALUES ('{OLD}')") == ("several", [])
    assert after("CREATE TABLE _alembic_tmp_runs (x)") == ("broken", ["_alembic_tmp_runs"])
