"""How many rows there are by table: what shows that somebody has used a database since."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_inventory import database_info
from mlflow_sftp.operations.round_trip_tag import TAG


def rows(file: Path) -> dict[str, int]:
    with Database(f"sqlite:///{file}") as database:
        found: dict[str, int] = database_info(database, rows=True)["rows"]
    return found


def execute(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


RUN = "(SELECT run_uuid FROM runs LIMIT 1)"
MADE = {
    "tags": f"INSERT INTO tags (key, value, run_uuid) VALUES ('seen', 'by me', {RUN})",
    "experiment_tags": "INSERT INTO experiment_tags (key, value, experiment_id) VALUES ('seen', 'by me', 0)",
    "params": f"INSERT INTO params (key, value, run_uuid) VALUES ('new', '1', {RUN})",
    "registered_model_aliases": "DELETE FROM registered_model_aliases",
    "assessments": "DELETE FROM assessments",
    "webhooks": "DELETE FROM webhooks",
}


@pytest.mark.parametrize("table", MADE)
def test_every_table_counts(filled: Path, table: str) -> None:
    before = rows(filled)
    execute(filled, MADE[table])
    now = rows(filled)
    assert [name for name in before if now[name] != before[name]] == [table]


def test_what_a_round_trip_makes_and_what_mlflow_writes_itself_does_not(filled: Path) -> None:
    before = rows(filled)
    execute(
        filled,
        "INSERT INTO experiments (experiment_id, name, workspace, lifecycle_stage) "
        "VALUES (77, 'trip', 'default', 'active')",
        f"INSERT INTO experiment_tags (key, value, experiment_id) VALUES ('{TAG}', 'true', 77)",
        "INSERT INTO runs (run_uuid, name, experiment_id, lifecycle_stage, status, source_type) "
        "VALUES ('trip', 'trip', 77, 'active', 'FINISHED', 'LOCAL')",
        f"INSERT INTO tags (key, value, run_uuid) VALUES ('{TAG}', 'true', 'trip'), ('mlflow.user', 'x', 'trip')",
        "DELETE FROM sql_assessment_daily_rollups",
    )
    assert rows(filled) == before
