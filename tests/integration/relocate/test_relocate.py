"""Re-rooting of databases made by MLflow: plan, apply, state, undo, scan."""

import itertools
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import BackupUnavailableError, BlockedError, DatabaseError, JournalError
from mlflow_sftp.operations import relocate
from mlflow_sftp.operations.database_inventory import database_info
from mlflow_sftp.operations.relocate import Request, transaction
from tests.integration.relocate.conftest import Dump, Filled
from tests.support.mlflow_content import ODD_NAMES
from tests.support.postgres import PostgresServer

SFTP = "sftp://freegee@tajo.host.ch:2121/agent.freegee.ch/artifacts"
DumpFunction = Callable[[str], Dump]

_PROXY_URL = "http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts"


def execute(uri: str, statement: str, **values: object) -> None:
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(statement), values)


def apply(filled: Filled, request: Request, journal: Path, **options: bool) -> relocate.Applied:
    with Database(filled.uri) as database:
        return relocate.apply(database, request, journal, backup=None, **options)


def locations(filled: Filled, root: str) -> list[relocate.Finding]:
    with Database(filled.uri) as database:
        return [found for found in relocate.scan(database, [root]) if found.kind == "location"]


def test_places_afterwards_are_of_the_moment_of_the_plan(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request((filled.root,), SFTP)
    with Database(filled.uri) as database:
        _, quiet = relocate.plan_with_places(database, request)
    make_plan, writers = transaction.make_plan, []

    def make_plan_while_somebody_writes(*arguments: Any) -> relocate.Plan:
        plan = make_plan(*arguments)
        statement = "UPDATE runs SET artifact_uri = 's3://elsewhere/run'"
        writers.append(threading.Thread(target=execute, args=(filled.uri, statement)))
        writers[0].start()
        # On SQLite, the writer cannot end before the reader has.
        writers[0].join(1)
        return plan

    monkeypatch.setattr(transaction, "make_plan", make_plan_while_somebody_writes)
    with Database(filled.uri) as database:
        _, busy = relocate.plan_with_places(database, request)
        writers[0].join()
        assert "s3://elsewhere" in {place["place"] for place in database_info(database)["places"]}
    assert busy == quiet


def test_plan_counts_every_place_and_changes_nothing(filled: Filled, dump: DumpFunction) -> None:
    before = dump(filled.uri)
    with Database(filled.uri) as database:
        plan = relocate.plan(database, Request((filled.root,), SFTP))
    moved = {name: counter["move"] for name, counter in plan.counts.items()}
    assert moved == {
        "experiments.artifact_location": 3,
        "runs.artifact_uri": 5,
        "logged_models.artifact_location": 1,
        "model_versions.storage_location": 2,
        "model_versions.source": 1,
        "trace_tags.value": 1,
        "workspaces.default_artifact_root": 0,
        "workspaces.trace_archival_location": 0,
    }
    assert [new for _, new in plan.directories()] == [
        f"{SFTP}/1",
        f"{SFTP}/odd%20name%20%2541",
        f"{SFTP}/deleted",
    ]
    assert dump(filled.uri) == before


def test_apply_moves_everything_and_undo_restores_every_byte(
    filled: Filled, tmp_path: Path, dump: DumpFunction
) -> None:
    before = dump(filled.uri)
    journal = tmp_path / "journal.jsonl"
    applied = apply(filled, Request((filled.root,), SFTP), journal)
    assert applied.changed
    assert locations(filled, filled.root) == []
    assert len(locations(filled, SFTP)) == len(applied.plan.moves) == 13
    untouched = {"params", "tags", "datasets", "spans", "trace_request_metadata", "registered_model_aliases"}
    after = dump(filled.uri)
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    with Database(filled.uri) as database:
        assert relocate.state(database, journal).verdict == "applied"
        assert relocate.undo(database, journal).rows == 13
        assert relocate.state(database, journal).verdict == "not_applied"
        assert not relocate.undo(database, journal).changed
    assert dump(filled.uri) == before


def test_what_is_left_is_report_only(filled: Filled, tmp_path: Path) -> None:
    apply(filled, Request((filled.root,), SFTP), tmp_path / "journal")
    with Database(filled.uri) as database:
        left = list(relocate.scan(database, [filled.root]))
    assert {found.kind for found in left} == {"report_only"}
    columns = {f"{found.table}.{found.column}" for found in left}
    assert {"datasets.dataset_source", "params.value", "spans.content"} <= columns


def test_mlflow_reads_everything_at_the_new_root(filled: Filled, tmp_path: Path) -> None:
    new_root = tmp_path / "new root"
    shutil.copytree(filled.root, new_root)
    apply(filled, Request((filled.root,), str(new_root)), tmp_path / "journal")
    hidden = Path(filled.root).with_name("hidden")
    Path(filled.root).rename(hidden)
    try:
        assert_readable(filled)
    finally:
        hidden.rename(filled.root)


def assert_readable(filled: Filled) -> None:
    content = filled.content
    mlflow.set_tracking_uri(filled.uri)
    mlflow.set_registry_uri(filled.uri)
    client = MlflowClient(filled.uri)
    for name in ("parent", "child"):
        # The whole directory: MLflow itself cannot ask for one file with "%20" in its name.
        downloaded = Path(client.download_artifacts(content.runs[name], ""))
        assert {path: (downloaded / path).read_text() for path in ODD_NAMES} == {
            path: f"{name}: {path}" for path in ODD_NAMES
        }
    for name in ("odd", "deleted", "in_deleted"):
        assert [file.path for file in client.list_artifacts(content.runs[name])] == ["a.txt"]
    for uri in ("models:/doubler@champion", "models:/doubler/2", f"models:/{content.model_id}"):
        assert mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"x": [2]}))["x"].tolist() == [4]
    assert mlflow.get_trace(content.trace_id).data.spans[0].name == "question"


def test_a_second_apply_finds_nothing_to_do(sqlite_copy: Filled, tmp_path: Path) -> None:
    request = Request((sqlite_copy.root,), SFTP)
    apply(sqlite_copy, request, tmp_path / "journal")
    assert not apply(sqlite_copy, request, tmp_path / "journal").changed
    again = apply(sqlite_copy, request, tmp_path / "another")
    assert (again.changed, again.journal, (tmp_path / "another").exists()) == (False, None, False)
    assert again.plan.counts["runs.artifact_uri"]["moved"] == 5


def test_a_journal_is_not_reused_for_another_relocation(sqlite_copy: Filled, tmp_path: Path) -> None:
    apply(sqlite_copy, Request((sqlite_copy.root,), SFTP), tmp_path / "journal")
    with pytest.raises(JournalError, match="another relocation"):
        apply(sqlite_copy, Request((SFTP,), "/elsewhere"), tmp_path / "journal")


def test_there_and_back_again_through_the_proxy(filled: Filled, tmp_path: Path, dump: DumpFunction) -> None:
    execute(
        filled.uri, "UPDATE experiments SET artifact_location = :v WHERE name = 'odd'", v=f"{filled.root}/o d"
    )
    execute(
        filled.uri,
        "UPDATE runs SET artifact_uri = :v WHERE run_uuid = :r",
        v=f"{filled.root}/o d/x/artifacts",
        r=filled.content.runs["odd"],
    )
    execute(
        filled.uri,
        "UPDATE experiments SET artifact_location = :v WHERE name = 'deleted'",
        v=f"{filled.root}/d",
    )
    execute(
        filled.uri,
        "UPDATE runs SET artifact_uri = :v WHERE run_uuid = :r",
        v=f"{filled.root}/d/x/artifacts",
        r=filled.content.runs["in_deleted"],
    )
    before = dump(filled.uri)
    steps = [filled.root, SFTP, "mlflow-artifacts:/", "mlflow-artifacts:/sub", filled.root]
    for number, (old, new) in enumerate(itertools.pairwise(steps)):
        assert len(apply(filled, Request((old,), new), tmp_path / str(number)).plan.moves) == 13
    assert dump(filled.uri) == before


def test_only_some_experiments(filled: Filled, tmp_path: Path) -> None:
    request = Request((filled.root,), SFTP, experiments=(int(filled.content.experiment),))
    applied = apply(filled, request, tmp_path / "journal")
    moved = {name: counter["move"] for name, counter in applied.plan.counts.items()}
    assert moved == {
        "experiments.artifact_location": 1,
        "runs.artifact_uri": 3,
        "logged_models.artifact_location": 1,
        "model_versions.storage_location": 2,
        "model_versions.source": 1,
        "trace_tags.value": 1,
    }
    left = {finding.excerpt for finding in locations(filled, filled.root)}
    assert left
    assert all("/odd name" in value or "/deleted" in value for value in left)
    with Database(filled.uri) as database:
        rest = relocate.plan(database, Request((filled.root,), SFTP))
    runs = {f"1/{filled.content.runs[name]}/artifacts" for name in ("parent", "child", "deleted")}
    assert runs < rest.already_moved
    assert all(path.startswith("1/") for path in rest.already_moved)


def test_only_where_new_runs_go(sqlite_copy: Filled, tmp_path: Path) -> None:
    applied = apply(sqlite_copy, Request((sqlite_copy.root,), SFTP, new_runs_only=True), tmp_path / "journal")
    assert {move.table for move in applied.plan.moves} == {"experiments"}


def test_a_value_wider_than_its_column_stops_everything(
    filled: Filled, tmp_path: Path, dump: DumpFunction
) -> None:
    before = dump(filled.uri)
    long_root = f"sftp://h/{'d' * 150}"
    with pytest.raises(BlockedError, match=r"5 x longer than the 200 characters of runs.artifact_uri"):
        apply(filled, Request((filled.root,), long_root), tmp_path / "journal")
    assert not (tmp_path / "journal").exists()
    assert dump(filled.uri) == before


def test_rows_that_cannot_move_may_be_left_on_demand(sqlite_copy: Filled, tmp_path: Path) -> None:
    climbing = f"{sqlite_copy.root}/1/../2"
    run = sqlite_copy.content.runs["child"]
    execute(sqlite_copy.uri, "UPDATE runs SET artifact_uri = :v WHERE run_uuid = :r", v=climbing, r=run)
    request = Request((sqlite_copy.root,), SFTP)
    with pytest.raises(BlockedError, match=r"'\.\.'.*" + run):
        apply(sqlite_copy, request, tmp_path / "journal")
    applied = apply(sqlite_copy, request, tmp_path / "journal", skip_blocked=True)
    assert [row.value for row in applied.plan.blocked] == [climbing]
    assert applied.plan.counts["runs.artifact_uri"] == {"move": 4, "blocked": 1}


def test_another_port_of_the_host_is_reported_and_left(sqlite_copy: Filled, tmp_path: Path) -> None:
    apply(sqlite_copy, Request((sqlite_copy.root,), SFTP), tmp_path / "1")
    other = SFTP.replace(":2121", ":22")
    run = sqlite_copy.content.runs["child"]
    execute(sqlite_copy.uri, "UPDATE runs SET artifact_uri = :v WHERE run_uuid = :r", v=f"{other}/1/x", r=run)
    applied = apply(sqlite_copy, Request((SFTP,), "/n"), tmp_path / "2")
    assert [(row.value, row.ambiguous) for row in applied.plan.blocked] == [(f"{other}/1/x", True)]
    assert apply(sqlite_copy, Request((SFTP, other), "/n"), tmp_path / "3").plan.moves[0].new == "/n/1/x"


@pytest.mark.parametrize("place", ["mlflow-artifacts://mlflow:5000", _PROXY_URL])
def test_a_location_that_nobody_could_read_without_the_proxy_blocks(
    sqlite_copy: Filled, tmp_path: Path, place: str
) -> None:
    run = sqlite_copy.content.runs["child"]
    execute(sqlite_copy.uri, "UPDATE runs SET artifact_uri = :v WHERE run_uuid = :r", v=f"{place}/1/x", r=run)
    request = Request(("mlflow-artifacts:/",), "/n")
    with pytest.raises(BlockedError, match="further old root.*" + run):
        apply(sqlite_copy, request, tmp_path / "1")
    # While the server still serves artifacts it is only named.
    stays = apply(sqlite_copy, Request(("mlflow-artifacts:/",), "mlflow-artifacts:/new"), tmp_path / "2")
    assert [(row.value, row.ambiguous) for row in stays.plan.blocked] == [(f"{place}/1/x", True)]
    named = Request(("mlflow-artifacts:/", place), "/n")
    assert apply(sqlite_copy, named, tmp_path / "3").plan.moves[0].new == "/n/1/x"
    with Database(sqlite_copy.uri) as database:
        assert not list(relocate.scan(database, [place]))


def test_undo_leaves_rows_that_were_deleted_and_refuses_foreign_changes(
    filled: Filled, tmp_path: Path
) -> None:
    apply(filled, Request((filled.root,), SFTP), tmp_path / "journal")
    execute(filled.uri, "DELETE FROM model_versions WHERE version = 2")
    with Database(filled.uri) as database:
        assert relocate.undo(database, tmp_path / "journal", check=True).rows == 11
        undone = relocate.undo(database, tmp_path / "journal")
        assert (undone.rows, undone.gone) == (11, 2)
    apply(filled, Request((filled.root,), SFTP), tmp_path / "second")
    apply(filled, Request((SFTP,), "/third"), tmp_path / "third")
    with (
        Database(filled.uri) as database,
        pytest.raises(DatabaseError, match="undo what changed them later"),
    ):
        relocate.undo(database, tmp_path / "second")
    assert len(locations(filled, "/third")) == 11


def log_more(filled: Filled, root: str) -> None:
    """What MLflow writes after a switch: an experiment made since, and runs in an old and in the new one."""
    client = MlflowClient(filled.uri)
    made = client.create_experiment("since", artifact_location=f"{root}/since")
    for experiment in (made, filled.content.experiment):
        client.create_run(experiment)
    client.delete_run(filled.content.runs["odd"])


def test_undoing_a_switch_moves_what_was_logged_since_and_can_itself_be_rolled_back(
    filled: Filled, tmp_path: Path, dump: DumpFunction
) -> None:
    """As the undo of a completed switch does it: undo A, relocate what came since as B; roll back: undo B, redo A."""
    first, since = tmp_path / "a", tmp_path / "b"
    apply(filled, Request((filled.root,), SFTP), first)
    log_more(filled, SFTP)
    switched = dump(filled.uri)
    with Database(filled.uri) as database:
        assert relocate.undo(database, first).rows == 13
        back = Request((SFTP,), filled.root)
        assert len(relocate.apply(database, back, since, backup=None).plan.moves) == 3
        assert locations(filled, SFTP) == []
        assert len(locations(filled, filled.root)) == 16
        assert relocate.undo(database, since).rows == 3
        assert relocate.redo(database, first, check=True).rows == 13
        assert relocate.redo(database, first).rows == 13
        assert not relocate.redo(database, first).changed
    assert dump(filled.uri) == switched


def test_redo_keeps_to_rows_that_are_as_they_were_undone(filled: Filled, tmp_path: Path) -> None:
    apply(filled, Request((filled.root,), SFTP), tmp_path / "journal")
    with Database(filled.uri) as database:
        relocate.undo(database, tmp_path / "journal")
    execute(filled.uri, "DELETE FROM model_versions WHERE version = 2")
    with Database(filled.uri) as database:
        redone = relocate.redo(database, tmp_path / "journal")
        assert (redone.rows, redone.gone) == (11, 2)
        relocate.undo(database, tmp_path / "journal")
        run = filled.content.runs["child"]
        execute(filled.uri, "UPDATE runs SET artifact_uri = '/third' WHERE run_uuid = :r", r=run)
        with pytest.raises(DatabaseError, match=r"1 rows of .* hold neither .* 10 the one to change"):
            relocate.redo(database, tmp_path / "journal")
    assert locations(filled, SFTP) == []


def test_the_old_root_inside_the_new_one_and_the_other_way_round(sqlite_copy: Filled, tmp_path: Path) -> None:
    inner = f"{sqlite_copy.root}/1"
    apply(sqlite_copy, Request((inner,), f"{inner}/deeper"), tmp_path / "1")
    assert not apply(sqlite_copy, Request((inner,), f"{inner}/deeper"), tmp_path / "2").changed
    assert len(locations(sqlite_copy, f"{inner}/deeper")) == 9
    apply(sqlite_copy, Request((f"{inner}/deeper",), inner), tmp_path / "3")
    assert locations(sqlite_copy, f"{inner}/deeper") == []


def test_a_truncated_journal_is_refused(sqlite_copy: Filled, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    apply(sqlite_copy, Request((sqlite_copy.root,), SFTP), journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[0])["request"]["new"] == SFTP
    assert journal.stat().st_mode & 0o777 == 0o600
    for damaged in (lines[:-1], lines[:3] + lines[4:], [], [lines[0][:10]]):
        journal.write_bytes(b"".join(damaged))
        with Database(sqlite_copy.uri) as database, pytest.raises(JournalError):
            relocate.undo(database, journal)


def test_sqlite_backup_is_complete_while_the_server_writes(
    sqlite_copy: Filled, tmp_path: Path, dump: DumpFunction
) -> None:
    before = dump(sqlite_copy.uri)
    backup = tmp_path / "backup" / "mlflow.db"
    with Database(sqlite_copy.uri) as database:
        relocate.apply(database, Request((sqlite_copy.root,), SFTP), tmp_path / "journal", backup=backup)
    assert dump(f"sqlite:///{backup}") == before
    assert backup.stat().st_mode & 0o777 == 0o600
    assert os.listdir(backup.parent) == ["mlflow.db"]


@pytest.mark.skipif(shutil.which("pg_restore") is None, reason="PostgreSQL's client is not installed")
def test_postgresql_backup_restores(
    postgres_copy: Filled, postgres: PostgresServer, tmp_path: Path, dump: DumpFunction
) -> None:
    before = dump(postgres_copy.uri)
    backup = tmp_path / "mlflow.dump"
    postgres.set_password("s3cret/@word")
    with Database(postgres_copy.uri.replace("postgres@", "cautious:s3cret%2F%40word@")) as database:
        relocate.apply(database, Request((postgres_copy.root,), SFTP), tmp_path / "journal", backup=backup)
    restored = f"restored_{tmp_path.name}"
    postgres.create(restored)
    postgres.restore(restored, backup)
    assert dump(postgres.uri(restored)) == before


def test_without_pg_dump_nothing_happens_and_the_message_says_so(
    postgres_copy: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        Database(postgres_copy.uri) as database,
        pytest.raises(BackupUnavailableError, match="pg_dump"),
    ):
        relocate.apply(
            database, Request((postgres_copy.root,), SFTP), tmp_path / "journal", backup=tmp_path / "backup"
        )
    assert os.listdir(tmp_path) == []
    assert locations(postgres_copy, SFTP) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqlite:////nowhere/mlflow.db", "no such file"),
        ("mysql://me:secret@h/d", "only SQLite and PostgreSQL"),
        ("nonsense", "cannot be read"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/d", r"me:\*\*\*@127.*cannot read: connection failed"),
    ],
)
def test_databases_that_cannot_be_used(uri: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as caught, Database(uri) as database:
        relocate.plan(database, Request(("/a",), "/b"))
    assert "secret" not in str(caught.value)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    execute(f"sqlite:///{tmp_path}/other.db", "CREATE TABLE t (x TEXT)")
    with (
        Database(f"sqlite:///{tmp_path}/other.db") as database,
        pytest.raises(DatabaseError, match="no MLflow tables"),
    ):
        relocate.plan(database, Request(("/a",), "/b"))


@pytest.mark.parametrize(
    ("root", "value", "found"),
    [
        ("/mlruns", "/mlruns", True),
        ("/mlruns", "see /mlruns.", True),
        ("/mlruns", '{"a": "file:///mlruns/1"}', True),
        ("/mlruns", "--root=/mlruns/1", True),
        ("/mlruns", "/mlruns2/1", False),
        ("/mlruns", "/mlruns.old/1", False),
        ("/mlruns", "/data/mlruns/1", False),
        ("/mlruns", "sftp://h/mlruns/1", False),
        ("/mlruns", "mlflow-artifacts:/mlruns/1", False),
        ("/m ü", '["/m \\u00fc/1"]', True),
        ("/m ü", "file:///m%20%C3%BC/1", True),
        ("/100%25_x", "/100%25_x/1", True),
        ("/100%25_x", "/100%25Yx/1", False),
        ("sftp://me@h:2121/p", "see sftp://h:2121/p/1", True),
        ("sftp://me@h:2121/p", "sftp://other/p/1", False),
        ("sftp://me@h:2121/p", "/p/1", False),
        ("mlflow-artifacts:/", "mlflow-artifacts:/1/x", True),
        ("mlflow-artifacts:/", "/1/x", False),
    ],
)
def test_scan_finds_mentions_and_no_namesakes(
    sqlite_copy: Filled, root: str, value: str, found: bool
) -> None:
    execute(sqlite_copy.uri, "UPDATE params SET value = :v WHERE key = 'where'", v=value)
    with Database(sqlite_copy.uri) as database:
        columns = {f"{finding.table}.{finding.column}" for finding in relocate.scan(database, [root])}
    assert ("params.value" in columns) == found
