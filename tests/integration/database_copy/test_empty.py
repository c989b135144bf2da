"""`mlflow-sftp empty-database`: what a copy made goes, and nothing else."""

import fcntl
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
from mlflow_sftp.errors import DatabaseError
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


@pytest.fixture
def beside(empty: str) -> str:
    """The URI of an empty schema of its own, in a database whose schema `public` is another application's."""
    execute(empty, "CREATE TABLE public.invoices (id INTEGER)")
    execute(empty, "CREATE SCHEMA mlflow")
    return f"{empty}&options=-csearch_path%3Dmlflow"


def test_a_schema_of_its_own_is_filled_and_emptied_and_no_other(
    filled: Path, empty: str, beside: str
) -> None:
    with Database(f"sqlite:///{filled}") as source:
        assert copy_database(source, beside).changed
        assert call(beside).exit_code == 0
        assert (tables(beside), tables(empty)) == (set(), {"invoices"})
        assert copy_database(source, beside).changed


def test_tables_that_are_seen_in_two_schemas_are_left_alone(copied: str) -> None:
    if copied.startswith("sqlite"):
        pytest.skip("SQLite has no schemas")
    execute(copied, "CREATE SCHEMA other")
    both = f"{copied}&options=-csearch_path%3Dother,public"
    refused = call(both)
    assert (refused.exit_code, "outside the schema other" in refused.output) == (1, True)
    assert "runs" in tables(copied)


FURTHER = {
    "view recent": "CREATE VIEW recent AS SELECT 1 AS one",
    "sequence numbers": "CREATE SEQUENCE numbers",
    "type colour": "CREATE TYPE colour AS ENUM ('red')",
    "type pair": "CREATE TYPE pair AS (a INTEGER, b INTEGER)",
    "type positive": "CREATE DOMAIN positive AS INTEGER CHECK (VALUE > 0)",
    "routine one": "CREATE FUNCTION one() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'",
}


@pytest.mark.parametrize("object_", FURTHER)
def test_what_is_no_table_is_somebody_elses(filled: Path, empty: str, object_: str) -> None:
    execute(empty, FURTHER[object_])
    looked = call(empty)
    assert (looked.exit_code, json.loads(looked.stdout)["others"]) == (0, [object_])
    with Database(f"sqlite:///{filled}") as source:
        for check in (True, False):
            with pytest.raises(DatabaseError, match=f"is not empty: 1 objects besides tables .{object_}"):
                copy_database(source, empty, check=check)


def test_a_view_in_a_file_keeps_it(filled: Path) -> None:
    execute(f"sqlite:///{filled}", "CREATE VIEW recent AS SELECT 1 AS one")
    refused = call(f"sqlite:///{filled}")
    assert (refused.exit_code, "does not make: view recent" in refused.output) == (1, True)
    assert filled.exists()


def test_objects_of_others_outlive_the_tables(copied: str) -> None:
    if copied.startswith("sqlite"):
        pytest.skip("a file goes as a whole")
    execute(copied, "CREATE VIEW recent AS SELECT 1 AS one")
    emptied = call(copied)
    assert (emptied.exit_code, json.loads(emptied.stdout)["others"]) == (0, ["view recent"])
    assert tables(copied) == set()
    execute(copied, "SELECT one FROM recent")


def test_check_only_looks(copied: str) -> None:
    looked = CliRunner().invoke(
        main, ["empty-database", "--check", "--json"], env={"MLFLOW_BACKEND_STORE_URI": copied}
    )
    assert json.loads(looked.stdout)["tables"] == len(tables(copied)) > 50


def test_a_database_that_somebody_is_connected_to_is_not_unused(copied: str) -> None:
    if copied.startswith("sqlite"):
        pytest.skip("the file itself is asked")
    unused = ["empty-database", "--unused"]
    with sa.create_engine(copied, poolclass=sa.NullPool).connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        connection.rollback()
        refused = CliRunner().invoke(main, unused, env={"MLFLOW_BACKEND_STORE_URI": copied})
    assert (refused.exit_code, "is in use: postgres is connected" in refused.output) == (1, True)
    assert tables(copied)
    assert CliRunner().invoke(main, unused, env={"MLFLOW_BACKEND_STORE_URI": copied}).exit_code == 0
    assert tables(copied) == set()


@pytest.mark.parametrize("there", [True, False])
def test_what_a_killed_copy_left_beside_a_file_goes(filled: Path, there: bool) -> None:
    if not there:
        filled.unlink()
    left = filled.with_name(f".{filled.name}.copy-database.tmp")
    left.write_bytes(bytes(1 << 20))
    with left.open("rb") as copying:
        fcntl.flock(copying, fcntl.LOCK_EX)
        busy = call(f"sqlite:///{filled}")
    assert (busy.exit_code, "written by another copy-database" in busy.output) == (1, True)
    assert left.exists()
    assert call(f"sqlite:///{filled}").exit_code == 0
    assert not left.exists()


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
