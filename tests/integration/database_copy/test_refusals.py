"""What cannot be copied is named, all of it, before anything is at the target."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import BlockedError, DatabaseError, StorageError
from mlflow_sftp.operations.database_copy import copy_database
from tests.integration.database_copy.conftest import Dump
from tests.support.postgres import PostgresServer

# What SQLite takes, the column that PostgreSQL will not take it in, and why.
UNFIT = [
    (
        "UPDATE tags SET value = 'a' || char(0) || 'b' WHERE key = 'text'",
        "tags.value",
        "holds a NUL character",
    ),
    (
        "UPDATE params SET value = CAST(x'61ff62' AS TEXT) WHERE key = 'text'",
        "params.value",
        "is not valid UTF-8",
    ),
    ("UPDATE runs SET user_id = printf('%.300c', 'u')", "runs.user_id", "is longer than 256 characters"),
    ("UPDATE registered_models SET description = x'00'", "registered_models.description", "is no text"),
    ("UPDATE runs SET end_time = 'soon'", "runs.end_time", "is not an integer"),
    ("UPDATE runs SET start_time = 1.5", "runs.start_time", "is not an integer"),
    ("UPDATE secrets SET kek_version = 3000000000", "secrets.kek_version", "beyond an integer of 32 bits"),
    (
        "UPDATE latest_metrics SET value = 'much' WHERE key = 'third'",
        "latest_metrics.value",
        "is not a number",
    ),
    ("UPDATE assessments SET valid = 7", "assessments.valid", "is not true or false"),
    (
        "INSERT INTO sql_trace_rollup_rebuild_queue VALUES (1, '28.2.2026', 'x')",
        "sql_trace_rollup_rebuild_queue.rollup_day",
        "is not a date",
    ),
    (
        "UPDATE evaluation_dataset_records SET inputs = '{\"a\": NaN}'",
        "evaluation_dataset_records.inputs",
        "is not JSON",
    ),
    ("UPDATE evaluation_dataset_records SET tags = '{'", "evaluation_dataset_records.tags", "is not JSON"),
    ("UPDATE secrets SET wrapped_dek = 'text'", "secrets.wrapped_dek", "is not bytes"),
    (
        "INSERT INTO experiment_tags VALUES ('k', 'v', 4711)",
        "experiment_tags.experiment_id",
        "leads to no row of experiments",
    ),
]


@pytest.fixture
def unfit(filled: Path) -> Path:
    with closing(sqlite3.connect(filled)) as connection, connection:
        # What keeps a secret's key as it is, and columns from other values.
        connection.execute("DROP TRIGGER IF EXISTS prevent_secrets_aad_mutation")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement, *_ in UNFIT:
            assert connection.execute(statement).rowcount > 0, statement
    return filled


def tables_in(uri: str) -> int:
    with psycopg.connect(uri.replace("+psycopg", "")) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert found is not None
    return int(found[0])


def test_check_lists_every_value_that_does_not_fit(unfit: Path, empty: str) -> None:
    before = unfit.read_bytes()
    with Database(f"sqlite:///{unfit}") as source:
        checked = copy_database(source, empty, check=True, shown=2)
    found = {f"{problem.table}.{problem.column}": problem for problem in checked.problems}
    for _, column, reason in UNFIT:
        assert reason in found.pop(column).reason
    assert found == {}
    by_column = {problem.column: problem for problem in checked.problems}
    assert by_column["user_id"].rows > len(by_column["user_id"].keys) == 2
    assert list(by_column["user_id"].keys[0]) == ["run_uuid"]
    assert by_column["experiment_id"].keys == [{"key": "k", "experiment_id": 4711}]
    assert checked.tables["runs"] == 3
    assert unfit.read_bytes() == before
    assert tables_in(empty) == 0


def test_what_does_not_fit_is_refused_and_nothing_is_copied(unfit: Path, empty: str) -> None:
    with Database(f"sqlite:///{unfit}") as source, pytest.raises(BlockedError) as refused:
        copy_database(source, empty)
    assert (
        "experiment_tags.experiment_id leads to no row of experiments (rows: 1): key=k" in refused.value.seen
    )
    assert f"and {len(UNFIT) - 3} more" in refused.value.seen
    assert "--check lists all of them" in refused.value.remedy
    assert tables_in(empty) == 0


def test_nan_and_bare_numbers_are_refused_by_the_way_to_sqlite(
    postgres: PostgresServer, moved: str, tmp_path: Path
) -> None:
    uri = postgres.create("nan", "moved")
    postgres.sql("UPDATE metrics SET value = 'NaN' WHERE key = 'third'", "nan")
    postgres.sql("UPDATE evaluation_dataset_records SET source = '1.0'", "nan")
    with Database(uri) as source:
        problems = copy_database(source, f"sqlite:///{tmp_path}/x.db", check=True).problems
    assert {(each.table, each.column, each.reason.split(",")[0]) for each in problems} == {
        ("metrics", "value", "is NaN"),
        ("evaluation_dataset_records", "source", "is a number alone"),
    }
    assert list(tmp_path.iterdir()) == []


def test_rows_that_became_equal_are_named(filled: Path, empty: str) -> None:
    """A constraint that somebody removed."""
    with closing(sqlite3.connect(filled)) as connection, connection:
        sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'experiments'").fetchone()[0]
        assert "uq_experiments_workspace_name" in sql
        kept = "\n".join(line for line in sql.splitlines() if "uq_experiments_workspace_name" not in line)
        kept = kept.rstrip().removesuffix(")").rstrip().rstrip(",") + ")"
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE type = 'index' AND tbl_name = 'experiments'")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'experiments'", (kept,))
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute("UPDATE experiments SET name = 'same'")
    with Database(f"sqlite:///{filled}") as source:
        problems = copy_database(source, empty, check=True).problems
        with pytest.raises(BlockedError, match="is not unique"):
            copy_database(source, empty)
    assert [(each.table, each.column, each.reason, each.rows) for each in problems] == [
        ("experiments", "name, workspace", "is not unique", 3)
    ]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE alembic_version SET version_num = '0a8213491aaa'", "is at revision 0a8213491aaa, MLflow 3"),
        ("DELETE FROM alembic_version", "is at revision none"),
        ("CREATE TABLE _alembic_tmp_runs (a TEXT)", "left that died: _alembic_tmp_runs"),
        ("CREATE TABLE users AS SELECT 1 AS id", "holds tables that are not MLflow's: users"),
        ("ALTER TABLE runs ADD COLUMN mine TEXT", "runs.mine is not of MLflow"),
        ("DROP TABLE webhook_events", "webhook_events is missing"),
        ("DROP TABLE experiments", "holds no MLflow tables"),
    ],
)
def test_a_source_that_is_not_as_mlflow_makes_it_is_refused(
    filled: Path, empty: str, statement: str, message: str
) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute(statement)
    with Database(f"sqlite:///{filled}") as source, pytest.raises(DatabaseError, match=message):
        copy_database(source, empty, check=True)
    assert tables_in(empty) == 0


def test_an_empty_table_of_somebody_else_is_no_reason(filled: Path, empty: str) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute("CREATE TABLE users (id INTEGER)")
    with Database(f"sqlite:///{filled}") as source:
        assert copy_database(source, empty).changed


def test_a_target_that_holds_anything_else_is_refused(
    filled: Path, postgres: PostgresServer, moved: str, empty: str
) -> None:
    more = postgres.create("one_more", "moved")
    postgres.sql("INSERT INTO experiment_tags VALUES ('k', 'v', 1)", "one_more")
    less = postgres.create("one_less", "moved")
    postgres.sql("DELETE FROM params WHERE key = 'long'", "one_less")
    with psycopg.connect(empty.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE of_somebody (id INTEGER)")
    with Database(f"sqlite:///{filled}") as source:
        for uri in (more, less, empty):
            with pytest.raises(DatabaseError, match="is not empty and no copy of the source"):
                copy_database(source, uri)
    assert tables_in(empty) == 1


def test_targets_that_cannot_be_one(
    filled: Path, moved: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    postgres.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    (tmp_path / "stale.db-wal").touch()
    cases = [
        (f"sqlite:///{filled}", f"sqlite:///{tmp_path}/x.db", "of the same kind"),
        (moved, moved, "of the same kind"),
        (f"sqlite:///{filled}", postgres.uri("latin"), "keeps text as LATIN1"),
        (f"sqlite:///{filled}", "postgresql+psycopg2://u:pa55@h/d", "with the driver psycopg"),
        (f"sqlite:///{filled}", postgres.uri("nowhere"), 'database "nowhere" does not exist'),
        (f"sqlite:///{filled}", "mysql://u:pa55@h/d", "only SQLite and PostgreSQL"),
        (moved, "sqlite://", "names no file"),
        (moved, f"sqlite:///{tmp_path}/none/x.db", "cannot be written: No such file or directory"),
        (moved, f"sqlite:///{tmp_path}/stale.db", "stale.db-wal is there"),
        (moved, "sqlite:////proc/x.db", "/proc/x.db cannot be written"),
    ]
    for uri, target, message in cases:
        with Database(uri) as source, pytest.raises(StorageError) as refused:
            copy_database(source, target)
        assert message in str(refused.value)
        assert "pa55" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filled.db", "stale.db-wal"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow_sftp.database.database.LOCK_TIMEOUT_S", 1)


@pytest.mark.usefixtures("impatient")
def test_a_writer_in_the_middle_of_a_transaction_is_named(
    filled: Path, empty: str, moved: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    with closing(sqlite3.connect(filled)) as writer:
        writer.execute("UPDATE runs SET name = 'x'")
        with (
            Database(f"sqlite:///{filled}") as source,
            pytest.raises(DatabaseError, match="stop the MLflow server"),
        ):
            copy_database(source, empty)
    uri = postgres.create("written", "moved")
    with psycopg.connect(uri.replace("+psycopg", "")) as connection:
        connection.execute("UPDATE runs SET name = 'x'")
        with Database(uri) as source, pytest.raises(DatabaseError, match="stop the MLflow server"):
            copy_database(source, f"sqlite:///{tmp_path}/x.db")
    assert [path.name for path in tmp_path.iterdir()] == ["filled.db"]


@pytest.mark.usefixtures("impatient")
def test_two_copies_at_once_do_not_mix(filled: Path, empty: str, moved: str, tmp_path: Path) -> None:
    import fcntl

    from mlflow_sftp.operations.database_copy.target import _LOCK

    with psycopg.connect(empty.replace("+psycopg", "")) as connection:
        connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        with Database(f"sqlite:///{filled}") as source, pytest.raises(DatabaseError, match="lock timeout"):
            copy_database(source, empty)
    temporary = tmp_path / ".x.db.copy-database.tmp"
    with temporary.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with Database(moved) as source, pytest.raises(DatabaseError, match="another copy-database"):
            copy_database(source, f"sqlite:///{tmp_path}/x.db")
        assert temporary.exists()


def test_too_little_space_is_told_before(
    moved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dump: Callable[[Path], Dump]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with Database(moved) as source:
        checked = copy_database(source, f"sqlite:///{tmp_path}/x.db", check=True)
        with pytest.raises(BlockedError, match="has 1000 bytes free, the source takes"):
            copy_database(source, f"sqlite:///{tmp_path}/x.db")
    assert (checked.free_bytes, checked.bytes > 1000) == (1000, True)
    assert [problem.rows for problem in checked.problems] == [0]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    import subprocess

    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory], check=False)
    if mounted.returncode:
        pytest.skip("needs root to mount a file system")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_full_disk_leaves_nothing(moved: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlflow_sftp.operations.database_copy.copying._size", lambda _: 0)
    (small_disk / "ballast").write_bytes(bytes(1_700_000))
    with Database(moved) as source, pytest.raises(StorageError, match="full"):
        copy_database(source, f"sqlite:///{small_disk}/x.db")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
