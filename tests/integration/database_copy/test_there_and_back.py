"""Everything that MLflow keeps, from SQLite to PostgreSQL and back: through MLflow the same, and byte by byte."""

import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow.store.db.utils as mlflow_database
import psycopg
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.entities import ViewType

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import DatabaseError
from mlflow_sftp.operations.database_copy import copy_database, copying
from mlflow_sftp.operations.database_copy.problems import Row
from mlflow_sftp.operations.database_copy.tables import Table
from mlflow_sftp.operations.database_copy.target import defer_circular_keys, require_circular_keys
from tests.integration.database_copy.conftest import ROLLUP, Dump
from tests.support.mlflow_records import read_records
from tests.support.postgres import PostgresServer, server_programs

# Filled by nothing that MLflow offers without a server of its own.
_NOT_FILLED = {
    "endpoint_bindings", "guardrail_configs", "guardrails", "job_locks", "label_schemas", "mcp_access_endpoints",
    "mcp_server_aliases", "mcp_server_tags", "mcp_server_version_tags", "online_scoring_configs",
    "review_queue_items", "review_queue_label_schemas", "review_queue_users", "review_queues", "scheduler_leases",
    "sql_span_cost_daily_rollups", "sql_trace_metric_daily_rollups",
    "span_metrics", "sql_trace_rollup_rebuild_queue", "trace_metrics",
}  # fmt: skip


def pristine(uri: str) -> None:
    """MLflow's tables in an empty database, as `mlflow db upgrade` makes them."""
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    mlflow_database._initialize_tables(engine)


def native(uri: str) -> str:
    """The URI as the driver takes it."""
    return uri.replace("+psycopg", "")


def test_mlflow_reads_back_the_same_from_both(filled: Path, moved: str) -> None:
    root = str(filled.parent / "artifacts")
    before = read_records(f"sqlite:///{filled}", root)
    assert len(before) > 30
    assert read_records(moved, root) == before


def test_nothing_is_left_out(filled: Path, dump: Callable[[Path], Dump]) -> None:
    """What the other tests compare: a table that MLflow adds, and nobody fills here, is seen."""
    assert {name for name, rows in dump(filled).items() if not rows} == _NOT_FILLED


def test_a_file_that_went_to_postgresql_and_back_is_the_same(
    filled: Path, moved: str, tmp_path: Path, dump: Callable[[Path], Dump]
) -> None:
    back = tmp_path / "back.db"
    with Database(moved) as source:
        copy = copy_database(source, f"sqlite:///{back}")
    before = dump(filled)
    assert dump(back) == before
    assert copy.tables == {name: len(rows) for name, rows in before.items() if name != "alembic_version"}
    assert copy.rows == sum(copy.tables.values())
    assert copy.changed
    assert back.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.db", "filled.db"]
    pristine(f"sqlite:///{tmp_path}/pristine.db")
    assert schema_of(back) == schema_of(tmp_path / "pristine.db")


def test_an_empty_file_keeps_its_mode(moved: str, tmp_path: Path) -> None:
    there = tmp_path / "mlflow.db"
    there.touch()
    there.chmod(0o640)
    with Database(moved) as source:
        copy_database(source, f"sqlite:///{there}")
    assert there.stat().st_mode & 0o777 == 0o640
    assert there.stat().st_size > 0


def schema_of(file: Path) -> list[tuple[str, str, list[str]]]:
    """Name and parts of what there is; MLflow's migrations put a table's constraints in any order."""
    with closing(sqlite3.connect(file)) as connection:
        made = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    return sorted((kind, name, sorted(re.split(r",?\s*\n\s*", sql))) for kind, name, sql in made)


def test_the_schema_is_that_of_a_pristine_database(moved: str, empty: str) -> None:
    pristine(empty)
    assert dumped_schema(moved) == dumped_schema(empty)


def dumped_schema(uri: str) -> str:
    programs = server_programs()
    assert programs is not None
    command = [str(programs / "pg_dump"), "--schema-only", "--no-owner", native(uri)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"\\(un)?restrict \w+", "", text)


def test_numbers_go_on_after_those_that_were_copied(
    postgres: PostgresServer, moved: str, tmp_path: Path
) -> None:
    uri, back = postgres.create("going_on", "moved"), f"sqlite:///{tmp_path}/back.db"
    with Database(uri) as source:
        copy_database(source, back)
    for each in (uri, back):
        client = MlflowClient(each, each)
        known = {int(experiment.experiment_id) for experiment in client.search_experiments(ViewType.ALL)}
        assert int(client.create_experiment("next")) == max(known) + 1
        assert int(client.create_model_version("registered", "models:/registered/1").version) == 3
    with psycopg.connect(native(uri)) as target:
        stored = target.execute("SELECT id, rollup_day::text FROM sql_assessment_daily_rollups").fetchall()
        assert stored == [(41, "2026-02-28")]
        unnumbered = ROLLUP.replace("(id, ", "(").replace("(41, ", "(")
        assert target.execute(f"{unnumbered} RETURNING id").fetchone() == (42,)


def test_null_in_a_json_column_is_not_the_null_of_json(moved: str) -> None:
    with psycopg.connect(native(moved)) as target:
        stored = target.execute(
            "SELECT outputs IS NULL, source::text FROM evaluation_dataset_records"
        ).fetchall()
    assert set(stored) == {(True, "null")}


def test_a_second_call_compares_and_changes_nothing(filled: Path, moved: str, tmp_path: Path) -> None:
    with Database(f"sqlite:///{filled}") as source:
        again = copy_database(source, moved)
    assert (again.changed, again.rows > 0, again.problems) == (False, True, [])
    with Database(moved) as source:
        again = copy_database(source, f"sqlite:///{filled}")
    assert again.changed is False


def test_a_value_that_differs_is_named_and_nothing_stays(
    filled: Path, empty: str, moved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a driver or a server would do it that is not to be trusted."""
    written = copying.write

    def careless(connection: sa.Connection, table: Table, rows: object) -> None:
        assert hasattr(rows, "__iter__")
        written(connection, table, (_rounded(table, row) for row in rows))

    monkeypatch.setattr(copying, "write", careless)
    for uri, target in ((f"sqlite:///{filled}", empty), (moved, f"sqlite:///{tmp_path}/back.db")):
        with Database(uri) as source, pytest.raises(DatabaseError) as refused:
            copy_database(source, target)
        assert "table logged_model_metrics: the row {'model_id': 'm-" in str(refused.value)
        assert "has another value at the target in metric_value" in str(refused.value)
    with psycopg.connect(native(empty)) as target_connection:
        assert target_connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (0,)
    assert [path.name for path in tmp_path.iterdir()] == ["filled.db"]


def _rounded(table: Table, row: Row) -> Row:
    if table.name != "logged_model_metrics":
        return row
    position = [column.name for column in table.stored].index("metric_value")
    return (*row[:position], row[position] + 2**-40, *row[position + 1 :])


def test_keys_in_a_circle_are_looked_at_in_the_end(postgres: PostgresServer, empty: str) -> None:
    """MLflow has none so far."""
    metadata = sa.MetaData()
    sa.Table("a", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("b", sa.Integer))
    sa.Table(
        "b", metadata, sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.Integer, sa.ForeignKey("a.id", name="b_a")),
        sa.Column("own", sa.Integer, sa.ForeignKey("b.id", name="b_own")),
    )  # fmt: skip
    engine = sa.create_engine(empty, poolclass=sa.NullPool)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE a ADD CONSTRAINT a_b FOREIGN KEY (b) REFERENCES b")
    before = dumped_schema(empty)
    reflected = sa.MetaData()
    reflected.reflect(engine)
    with engine.connect() as connection:
        defer_circular_keys(connection, reflected.tables.values())
        connection.exec_driver_sql("INSERT INTO a VALUES (1, 1)")
        connection.exec_driver_sql("INSERT INTO b VALUES (2, 1, 1), (1, 1, 2)")
        require_circular_keys(connection, reflected.tables.values())
        connection.commit()
    assert dumped_schema(empty) == before
    with engine.connect() as connection:
        defer_circular_keys(connection, reflected.tables.values())
        connection.exec_driver_sql("INSERT INTO a VALUES (2, 7)")
        with pytest.raises(sa.exc.IntegrityError, match="a_b"):
            require_circular_keys(connection, reflected.tables.values())
