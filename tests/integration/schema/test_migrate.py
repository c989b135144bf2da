"""`mlflow-sftp migrate`: the installed MLflow's schema with every row, or the database as it was."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from mlflow_sftp.database.database import Database
from mlflow_sftp.database.sqlite_file import writers_locked_out
from mlflow_sftp.errors import DatabaseError
from mlflow_sftp.operations import database_migration, database_schema
from mlflow_sftp.operations.database_migration import migrate
from mlflow_sftp.operations.database_schema import Schema
from tests.integration.schema.conftest import NEW, OLD, Older, Program
from tests.support.older_database import beside, create_older


def test_a_database_that_is_behind_arrives_and_mlflow_reads_it(older: Older, program: Program) -> None:
    answer = program(older.uri, "migrate")
    assert answer.code == 0, answer.errors
    assert (answer.result["from"], answer.result["to"]) == (OLD, NEW)
    assert answer.result["seconds"] > 0
    assert older.holds(NEW)
    if older.file is not None:
        assert answer.result["bytes"] == older.file.stat().st_size
        assert beside(older.file) == []
    assert schema_of(older.uri) == schema_of_a_new_one(older)
    client = MlflowClient(older.uri, older.uri)
    run = client.search_runs(["7"], max_results=1)[0]
    assert run.data.tags["note"]
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2, 3, 4]
    assert client.create_run("7").info.status == "RUNNING"

    again = program(older.uri, "migrate")
    assert (again.code, again.result["from"], again.result["to"]) == (0, NEW, NEW)


def schema_of(uri: str) -> dict[str, set[str]]:
    metadata = sa.MetaData()
    metadata.reflect(sa.create_engine(uri, poolclass=sa.NullPool))
    return {name: {column.name for column in table.c} for name, table in metadata.tables.items()}


def schema_of_a_new_one(older: Older) -> dict[str, set[str]]:
    """What MLflow itself makes in an empty database."""
    if older.file is None:
        return schema_of(older.uri)
    fresh = f"sqlite:///{older.file.parent.parent}/fresh.db"
    create_older(fresh, "heads", 0)
    return schema_of(fresh)


def test_owner_mode_links_and_journal_mode_stay(
    sqlite_older: Older, tmp_path: Path, program: Program
) -> None:
    file = sqlite_older.file
    assert file is not None
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12345, 23456)
    before = file.stat()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    link = tmp_path / "link.db"
    link.symlink_to(file)
    assert program(f"sqlite:///{link}", "migrate").code == 0
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert link.is_symlink()
    assert sqlite_older.holds(NEW)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE alembic_version SET version_num = 'fffffffffff0'", "fffffffffff0, which MLflow"),
        ("INSERT INTO alembic_version VALUES ('fffffffffff0')", "has the revisions"),
        ("CREATE TABLE _alembic_tmp_runs (x integer)", "migration that died: _alembic_tmp_runs"),
    ],
)
def test_other_states_are_refused(older: Older, statement: str, message: str) -> None:
    engine = sa.create_engine(older.uri, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    with Database(older.uri) as database, pytest.raises(DatabaseError, match=message):
        migrate(database)


def test_an_empty_database_is_refused(tmp_path: Path, program: Program) -> None:
    (tmp_path / "mlflow.db").touch()
    refused = program(f"sqlite:///{tmp_path}/mlflow.db", "migrate")
    assert refused.code == 1
    assert "nothing to migrate" in refused.result["error"]["seen"]
    assert (tmp_path / "mlflow.db").stat().st_size == 0
    missing = program(f"sqlite:///{tmp_path}/none.db", "migrate")
    assert "there is no such file" in missing.result["error"]["seen"]


def test_a_server_that_writes_is_named(older: Older, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow_sftp.database.database.LOCK_TIMEOUT_S", 1)
    engine = sa.create_engine(older.uri, poolclass=sa.NullPool)
    with Database(older.uri) as database, engine.connect() as writer:
        writer.exec_driver_sql("UPDATE runs SET name = 'written'")
        with pytest.raises(DatabaseError, match=r"another program is .* stop the MLflow server"):
            migrate(database)
        writer.rollback()
        assert older.holds(OLD)
        migrate(database)
    assert older.holds(NEW)


def test_a_connection_that_idled_meanwhile_cannot_write_into_the_old_file(sqlite_older: Older) -> None:
    file = str(sqlite_older.file)
    with closing(sqlite3.connect(file)) as idle, Database(sqlite_older.uri) as database:
        assert idle.execute("SELECT count(*) FROM runs").fetchone()[0] > 0
        migrate(database)
        with pytest.raises(sqlite3.OperationalError, match="readonly database"):
            idle.execute("UPDATE runs SET name = 'lost'")
    assert sqlite_older.holds(NEW)


def test_one_at_a_time(postgres_older: Older) -> None:
    with (
        Database(postgres_older.uri) as first,
        Database(postgres_older.uri) as second,
        first.reserved(),
        pytest.raises(DatabaseError, match="another mlflow-sftp"),
    ):
        migrate(second)
    assert postgres_older.holds(OLD)


def test_what_another_one_replaced_meanwhile_is_not_migrated_again(
    sqlite_older: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = database_schema.schema
    with Database(sqlite_older.uri) as first, Database(sqlite_older.uri) as second:
        found = look(second)
        migrate(first)
        inode = Path(str(sqlite_older.file)).stat().st_ino
        answers = iter([found])
        monkeypatch.setattr(database_migration, "schema", lambda it: next(answers, None) or look(it))
        with pytest.raises(DatabaseError, match="migrated by another program"):
            migrate(second)
    assert Path(str(sqlite_older.file)).stat().st_ino == inode


def test_a_file_that_was_replaced_while_the_lock_was_waited_for(
    sqlite_older: Older, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened = Database.sqlite_connection

    @contextmanager
    def waiting(database: Database) -> Iterator[sqlite3.Connection]:
        with opened(database) as connection:
            connection.execute("SELECT * FROM runs").fetchone()
            shutil.copyfile(database.file, tmp_path / "new")
            (tmp_path / "new").replace(database.file)
            yield connection

    monkeypatch.setattr(Database, "sqlite_connection", waiting)
    with (
        Database(sqlite_older.uri) as database,
        pytest.raises(DatabaseError, match="was replaced by another program"),
        writers_locked_out(database),
    ):
        pass


def test_a_migration_that_fails_leaves_the_database_as_it_was(older: Older) -> None:
    """A table that a later migration makes is there already, as after MLflow's own migration was killed on SQLite."""
    engine = sa.create_engine(older.uri, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE mcp_servers (x integer)")
    with Database(older.uri) as database, pytest.raises(DatabaseError) as failed:
        migrate(database)
    assert "mcp_servers" in str(failed.value)
    assert "nothing was changed" in str(failed.value)
    assert older.holds(OLD)
    if older.file is not None:
        assert beside(older.file) == []


def test_a_copy_that_lost_something_is_not_taken(
    sqlite_older: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = database_migration._upgrade

    def lose(database: Database, engine: sa.Engine, found: Schema) -> None:
        upgrade(database, engine, found)
        with closing(sqlite3.connect(str(engine.url.database))) as connection:
            connection.execute("DELETE FROM runs WHERE run_uuid LIKE '%1'")
            connection.commit()

    monkeypatch.setattr(database_migration, "_upgrade", lose)
    with Database(sqlite_older.uri) as database, pytest.raises(DatabaseError, match=r"rows of .* refer to"):
        migrate(database)
    assert sqlite_older.holds(OLD)


def test_rows_that_referred_to_nothing_before_are_no_reason(sqlite_older: Older) -> None:
    with closing(sqlite3.connect(str(sqlite_older.file))) as connection:
        connection.execute("INSERT INTO tags (key, value, run_uuid) VALUES ('k', 'v', 'nobody')")
        connection.commit()
    with Database(sqlite_older.uri) as database:
        assert migrate(database).after == NEW


def test_too_little_space_is_said_before_anything_is_done(
    sqlite_older: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with Database(sqlite_older.uri) as database, pytest.raises(DatabaseError, match="0 MiB are free"):
        migrate(database)
    assert sqlite_older.holds(OLD)


def test_what_a_killed_one_left_is_removed(sqlite_older: Older) -> None:
    file = sqlite_older.file
    assert file is not None
    for name in (
        ".mlflow.db.0123456789ab.tmp",
        ".mlflow.db.0123456789ab.tmp-journal",
        ".other.db.0123456789ab.tmp",
    ):
        (file.parent / name).write_bytes(b"left")
    with Database(sqlite_older.uri) as database:
        migrate(database)
    assert beside(file) == [".other.db.0123456789ab.tmp"]
