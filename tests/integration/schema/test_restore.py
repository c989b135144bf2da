"""`mlflow-sftp restore`: what `backup` wrote, whatever the database holds by now."""

import errno
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import BackupError, DatabaseError
from mlflow_sftp.operations.database_backup import back_up
from mlflow_sftp.operations.database_migration import migrate
from mlflow_sftp.operations.database_restore import restore
from tests.integration.schema.conftest import NEW, OLD, Answer, Older, Program
from tests.support.older_database import beside, content, leave_journal
from tests.support.postgres import PostgresServer

PAGE = Path(__file__).parents[3] / "docs" / "restore.md"


@pytest.fixture
def backup(older: Older, tmp_path: Path) -> Path:
    """A backup of the database at its old schema; the database itself has been migrated, and gone on, since."""
    target = tmp_path / "mlflow.backup"
    with Database(older.uri) as database:
        back_up(database, target)
        migrate(database)
    engine = sa.create_engine(older.uri, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET name = 'since'")
        connection.exec_driver_sql("CREATE TABLE since (x integer)")
        connection.exec_driver_sql("CREATE VIEW later AS SELECT run_uuid FROM runs")
    return target


def test_a_migrated_database_goes_back(older: Older, backup: Path, program: Program) -> None:
    answer = program(older.uri, "restore", str(backup))
    assert answer.code == 0, answer.errors
    with Database(older.uri) as database:
        assert answer.result == {
            "contract": 1,
            "database": database.name,
            "file": str(backup),
            "revision": OLD,
            "bytes": database.size(),
        }
        names = set(database.all_tables())
    assert older.holds(OLD)
    assert not names & {"since", "later", "mcp_servers"}
    assert [
        views for views in sa.inspect(sa.create_engine(older.uri)).get_view_names() if views == "later"
    ] == []
    if older.file is not None:
        assert beside(older.file) == []
    with Database(older.uri) as database:
        assert migrate(database).after == NEW
    assert older.holds(NEW)


def test_a_restore_makes_it_another_database(older: Older, tmp_path: Path, program: Program) -> None:
    def identity() -> str:
        return str(program(older.uri, "info").result["database"]["identity"])

    backup, damaged = tmp_path / "mlflow.backup", tmp_path / "damaged"
    first = identity()
    with Database(older.uri) as database:
        back_up(database, backup)
    damaged.write_bytes(backup.read_bytes()[:-2000])
    assert program(older.uri, "restore", str(damaged)).code == 1
    assert identity() == first
    seen = [first]
    # Also where the content is the same, and SQLite's file gets an inode that was another's before.
    for _ in range(3):
        assert program(older.uri, "restore", str(backup)).code == 0
        seen.append(identity())
    assert len(set(seen)) == len(seen)


def test_an_empty_database_is_filled(
    older: Older, backup: Path, program: Program, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if older.file is None:
        uri = request.getfixturevalue("postgres").create(f"{tmp_path.name}-empty")
    else:
        uri = f"sqlite:///{tmp_path}/new.db"
    assert program(uri, "restore", str(backup)).code == 0
    assert content(uri) == older.content
    if older.file is not None:
        assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


def test_standard_input_as_the_page_says(older: Older, backup: Path) -> None:
    """The commands of the page, run here instead of in a container."""
    commands = re.findall(r"^docker compose .* mlflow (mlflow-sftp .*)$", PAGE.read_text(), re.MULTILINE)
    (restoring,) = [command for command in commands if " restore " in command]
    (backing_up,) = [command for command in commands if " backup " in command]
    script = f"{backing_up}\n{restoring}".replace("/tmp/mlflow.backup", "since.backup")
    words = shlex.join([sys.executable, "-m", "mlflow_sftp"])
    subprocess.run(
        script.replace("mlflow-sftp ", f"{words} "),
        shell=True,
        cwd=backup.parent,
        env={**os.environ, "MLFLOW_BACKEND_STORE_URI": older.uri},
        check=True,
    )
    assert older.holds(OLD)


def test_standard_input_of_a_server_of_commands_is_not_taken(sqlite_older: Older) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlflow_sftp", "serve"],
        input=f'["restore", "-", "--database", "{sqlite_older.uri}", "--json"]\n',
        capture_output=True,
        text=True,
        check=True,
    )
    assert "name a file" in done.stdout
    assert sqlite_older.holds(OLD)


def test_the_journal_of_a_killed_writer_does_not_reach_the_restored_file(
    sqlite_older: Older, tmp_path: Path, program: Program
) -> None:
    file, backup = Path(str(sqlite_older.file)), tmp_path / "mlflow.backup"
    with Database(sqlite_older.uri) as database:
        back_up(database, backup)
        migrate(database)
    leave_journal(file)
    assert program(sqlite_older.uri, "restore", str(backup)).code == 0
    assert beside(file) == []
    assert sqlite_older.holds(OLD)


def test_a_migration_beside_the_journal_of_a_killed_writer(sqlite_older: Older, program: Program) -> None:
    leave_journal(Path(str(sqlite_older.file)))
    assert program(sqlite_older.uri, "migrate").code == 0
    assert sqlite_older.holds(NEW)


@pytest.mark.parametrize(
    "left",
    [
        "journal of another file",
        "journal alone",
        "journal of no database",
        "no database",
        "cut short",
        "zeros",
    ],
)
def test_a_file_that_nothing_opens_any_more_is_replaced(
    sqlite_older: Older, left: str, tmp_path: Path, program: Program
) -> None:
    """What an operator has after putting a file beside an old journal, or after a disk full of trouble."""
    file, backup = Path(str(sqlite_older.file)), tmp_path / "mlflow.backup"
    journal = file.with_name("mlflow.db-journal")
    with Database(sqlite_older.uri) as database:
        back_up(database, backup)
    match left:
        case "journal of another file":
            leave_journal(file)
            kept = journal.read_bytes()
            shutil.copyfile(backup, file)
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("DROP TABLE params")
                connection.execute("VACUUM")
            journal.write_bytes(kept)
        case "journal alone":
            leave_journal(file)
            file.unlink()
        case "journal of no database":
            leave_journal(file)
            file.write_bytes(b"something else" * 1000)
        case "no database":
            file.write_bytes(b"something else" * 1000)
        case "cut short":
            os.truncate(file, 20_000)
        case "zeros":
            file.write_bytes(file.read_bytes()[:200] + bytes(50_000))
    answer = program(sqlite_older.uri, "restore", str(backup))
    assert answer.code == 0, answer.errors
    assert beside(file) == []
    assert sqlite_older.holds(OLD)


@pytest.mark.parametrize(
    "damage", ["cut short", "flipped", "empty", "missing", "foreign", "of the other kind"]
)
def test_a_file_that_is_no_whole_backup_is_refused(
    older: Older, damage: str, tmp_path: Path, program: Program
) -> None:
    backup = tmp_path / "mlflow.backup"
    with Database(older.uri) as database:
        back_up(database, backup)
    whole = bytearray(backup.read_bytes())
    match damage:
        case "cut short":
            backup.write_bytes(whole[:-2000])
        case "flipped":
            # In an archive the list of what it holds comes first, and that alone would be seen sooner.
            at, count = (len(whole) // 2, 8000) if older.file is not None else (len(whole) - 3000, 1000)
            whole[at : at + count] = bytes(count)
            backup.write_bytes(whole)
        case "empty":
            backup.write_bytes(b"")
        case "missing":
            backup.unlink()
        case "foreign":
            _make_foreign(older, backup)
        case "of the other kind":
            start = b"PGDMP" if older.file is not None else b"SQLite format 3\0"
            backup.write_bytes(start + bytes(5000))
    refused = program(older.uri, "restore", str(backup))
    assert (refused.code, refused.result["error"]["cause"]) == (1, "backup"), refused
    assert refused.result["error"]["unchanged"] is True
    assert str(backup) in refused.result["error"]["seen"]
    # Found out beforehand, and not in the middle of the transaction.
    assert "now cannot" not in refused.result["error"]["seen"]
    assert "mlflow-sftp backup" in refused.result["error"]["remedy"]
    assert older.holds(OLD)
    if older.file is not None:
        assert beside(older.file) == []


def _make_foreign(older: Older, backup: Path) -> None:
    if older.file is not None:
        backup.unlink()
        with closing(sqlite3.connect(backup)) as connection:
            connection.execute("CREATE TABLE films (x)")
        return
    engine = sa.create_engine(older.uri, poolclass=sa.NullPool)
    renamed = (("experiments", "films"), ("films", "experiments"))
    for index, (old, new) in enumerate(renamed):
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")
        if index == 0:
            subprocess.run(
                ["pg_dump", "--format=custom", f"--file={backup}", older.uri.replace("+psycopg", "")],
                check=True,
            )


def test_the_database_itself_and_one_in_use_are_no_backups(sqlite_older: Older, tmp_path: Path) -> None:
    used = tmp_path / "used.db"
    shutil.copyfile(str(sqlite_older.file), used)
    with Database(sqlite_older.uri) as database:
        with pytest.raises(BackupError, match="the database itself"):
            restore(database, Path(str(sqlite_older.file)))
        (tmp_path / "used.db-wal").write_bytes(b"something")
        with pytest.raises(BackupError, match="a database in use"):
            restore(database, used)
    assert sqlite_older.holds(OLD)


def test_a_server_that_writes_is_named(older: Older, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = tmp_path / "mlflow.backup"
    with Database(older.uri) as database:
        back_up(database, backup)
    monkeypatch.setattr("mlflow_sftp.database.database.LOCK_TIMEOUT_S", 1)
    engine = sa.create_engine(older.uri, poolclass=sa.NullPool)
    with Database(older.uri) as database, engine.connect() as writer:
        writer.exec_driver_sql("UPDATE runs SET name = 'written'")
        with pytest.raises(DatabaseError, match=r"another program is .* stop the MLflow server") as refused:
            restore(database, backup)
        assert refused.value.unchanged
        writer.rollback()
    assert older.holds(OLD)


def test_what_fails_after_the_change_is_not_called_unchanged(
    older: Older, backup: Path, monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    def fail(database: Database) -> int:
        raise DatabaseError(f"{database.name}: gone", "start it")

    monkeypatch.setattr(Database, "size", fail)
    failed = program(older.uri, "restore", str(backup))
    assert failed.code == 1
    assert "unchanged" not in failed.result["error"]
    assert older.holds(OLD)


@pytest.mark.parametrize("at", ["the new file", "its directory"])
def test_a_disk_that_fails_tells_whether_the_file_has_its_name(
    sqlite_older: Older, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    backup, file = tmp_path / "mlflow.backup", Path(str(sqlite_older.file))
    with Database(sqlite_older.uri) as database:
        back_up(database, backup)
        migrate(database)

    def fail(path: Path) -> None:
        if path.is_dir() == (at == "its directory"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("mlflow_sftp.database.durable_file.sync", fail)
    failed = program(sqlite_older.uri, "restore", str(backup))
    assert "cannot be written: Input/output error" in failed.result["error"]["seen"]
    assert failed.result["error"].get("unchanged", False) == (at == "the new file")
    assert sqlite_older.holds(NEW if at == "the new file" else OLD)
    assert [path for path in beside(file) if path != backup.name] == []


def test_a_commit_without_an_answer_is_not_called_unchanged(
    postgres_older: Older, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    backup = tmp_path / "mlflow.backup"
    with Database(postgres_older.uri) as database:
        back_up(database, backup)
        migrate(database)
    psql = tmp_path / "bin" / "psql"
    psql.parent.mkdir()
    psql.write_text(f'#!/bin/sh\n{shutil.which("psql")} "$@"\necho "error: connection lost" >&2\nexit 2\n')
    psql.chmod(0o755)
    monkeypatch.setenv("PATH", f"{psql.parent}:{os.environ['PATH']}")
    failed = program(postgres_older.uri, "restore", str(backup))
    assert "nobody knows whether it is done: error: connection lost" in failed.result["error"]["seen"]
    assert "unchanged" not in failed.result["error"]
    assert postgres_older.holds(OLD)


def test_what_others_made_stays_and_what_depends_on_ours_is_named(
    postgres: PostgresServer, postgres_older: Older, tmp_path: Path
) -> None:
    backup = tmp_path / "mlflow.backup"
    name = sa.make_url(postgres_older.uri).database
    assert name is not None
    with Database(postgres_older.uri) as database:
        back_up(database, backup)
        postgres.sql("DROP ROLE IF EXISTS reporting")
        postgres.sql("CREATE ROLE reporting")
        postgres.sql(
            "GRANT ALL ON SCHEMA public TO reporting; GRANT SELECT ON runs TO reporting; SET ROLE reporting;"
            "CREATE TABLE notes (x integer); CREATE VIEW seen AS SELECT run_uuid FROM runs",
            name,
        )
        with pytest.raises(DatabaseError, match=r"depend.* view seen depends on table runs") as refused:
            restore(database, backup)
        assert refused.value.unchanged
        postgres.sql("DROP VIEW seen", name)
        assert restore(database, backup).revision == OLD
        assert "notes" in database.all_tables()
    assert postgres_older.holds(OLD)


def test_rights_come_back_to_whom_the_server_knows(
    postgres: PostgresServer, postgres_older: Older, tmp_path: Path
) -> None:
    backup = tmp_path / "mlflow.backup"
    name = sa.make_url(postgres_older.uri).database
    assert name is not None
    for role in ("auditing", "gone"):
        postgres.sql(f"DROP ROLE IF EXISTS {role}")
        postgres.sql(f"CREATE ROLE {role}")
    postgres.sql(
        "GRANT SELECT ON runs TO gone, auditing; GRANT SELECT (name) ON experiments TO auditing;"
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO gone;"
        "CREATE SCHEMA elsewhere CREATE TABLE notes (x integer); GRANT USAGE ON SCHEMA elsewhere TO gone",
        name,
    )
    with Database(postgres_older.uri) as database:
        back_up(database, backup)
    postgres.sql("DROP OWNED BY gone; DROP SCHEMA elsewhere CASCADE", name)
    postgres.sql("DROP ROLE gone")
    fresh = sa.make_url(postgres.create(f"{tmp_path.name}-rights"))
    for uri in (postgres_older.uri, fresh.render_as_string(hide_password=False)):
        with Database(uri) as database:
            assert restore(database, backup).revision == OLD
            with database.reading() as connection:
                rights = "SELECT has_table_privilege('auditing', 'public.runs', 'SELECT'),"
                rights += " has_column_privilege('auditing', 'public.experiments', 'name', 'SELECT'),"
                rights += " has_table_privilege('auditing', 'public.experiments', 'SELECT')"
                assert tuple(connection.execute(sa.text(rights)).one()) == (True, True, False)
    assert postgres_older.holds(OLD)


def test_two_at_once(postgres_older: Older, tmp_path: Path) -> None:
    backup = tmp_path / "mlflow.backup"
    with Database(postgres_older.uri) as database, Database(postgres_older.uri) as other:
        back_up(database, backup)
        with other.reserved(), pytest.raises(DatabaseError, match="another mlflow-sftp"):
            restore(database, backup)
    assert postgres_older.holds(OLD)


def test_a_setting_that_an_older_server_does_not_know_is_left_out(
    postgres_older: Older, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    """pg_restore 17 in front of the installed one; rows that hold the same text stay as they are."""
    backup = tmp_path / "mlflow.backup"
    with Database(postgres_older.uri) as database:
        back_up(database, backup)
    newer = tmp_path / "bin" / "pg_restore"
    newer.parent.mkdir()
    newer.write_text(
        f'#!/bin/sh\n{shutil.which("pg_restore")} "$@" | '
        "sed '0,/^SET lock_timeout/s//SET transaction_timeout = 0;\\n&/'\n"
    )
    newer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{newer.parent}:{os.environ['PATH']}")
    answer: Answer = program(postgres_older.uri, "restore", str(backup))
    assert answer.code == 0, answer.errors
    assert postgres_older.holds(OLD)


def test_a_password_is_in_no_argument(
    postgres: PostgresServer, postgres_older: Older, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    for program in ("pg_restore", "psql"):
        wrapper = tmp_path / "bin" / program
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(
            f'#!/bin/sh\necho "$0 $@ / $PGPASSWORD" >>{seen}\nexec {shutil.which(program)} "$@"\n'
        )
        wrapper.chmod(0o755)
    backup = tmp_path / "mlflow.backup"
    with Database(postgres_older.uri) as database:
        back_up(database, backup)
    postgres.set_password("s3cr3t")
    fresh = sa.make_url(postgres.create(f"{tmp_path.name}-fresh")).set(username="cautious", password="s3cr3t")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with Database(fresh.render_as_string(hide_password=False)) as database:
        restore(database, backup)
    lines = seen.read_text().splitlines()
    assert any("psql" in line and line.endswith("/ s3cr3t") for line in lines)
    assert not [line for line in lines if "s3cr3t" in line.rpartition(" / ")[0]]
