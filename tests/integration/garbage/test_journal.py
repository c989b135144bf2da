"""Artifacts follow rows that gc removed itself, in the database that had them; one failure does not end the rest."""

import time
from typing import Any

import pytest
import sqlalchemy as sa
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import StorageError
from mlflow_sftp.operations.artifact_removal import ArtifactRemoval
from mlflow_sftp.operations.client_waits import shorten_waits
from mlflow_sftp.operations.garbage import _Collector, collect
from tests.integration.garbage.conftest import Deleted


def fail(*arguments: object) -> None:
    raise OSError("no answer")


def test_another_database_leaves_the_journal_alone(
    deleted: Deleted, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = deleted.run()
    deleted.set_back()
    with monkeypatch.context() as patched:
        patched.setattr(ArtifactRemoval, "delete", fail)
        assert deleted.collect().failed == {f"run {run}": "no answer"}
    both = {request.getfixturevalue(f"{name}_of_users") for name in ("sqlite", "postgres")}
    (other,) = both - {deleted.uri}
    # Which has no rows of that run either.
    somewhere = Deleted(other, deleted.root / "other", deleted.journal)
    theirs = somewhere.run()
    somewhere.set_back()
    with Database(other) as database:
        done = collect(database, other, days=30, journal=deleted.journal)
    assert (done.runs, done.resumed) == (1, 0)
    assert "another database's" in done.kept[f"run {run}"]
    assert not somewhere.has_files(theirs)
    assert deleted.has_files(run)
    assert deleted.collect().resumed == 1
    assert not deleted.has_files(run)
    assert not deleted.journal.exists()


def test_a_row_that_went_in_another_way_is_no_permission(
    deleted: Deleted, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = deleted.run()
    deleted.set_back()

    def kill(*arguments: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_Collector, "_remove_run", kill)
        with pytest.raises(KeyboardInterrupt):
            deleted.collect()
    SqlAlchemyStore(deleted.uri, "/nowhere")._hard_delete_run(run)
    for _ in range(2):
        done = deleted.collect()
        assert (done.resumed, done.as_dict()["changed"]) == (0, False)
        assert "in another way" in done.kept[f"run {run}"]
    assert deleted.has_files(run)


def test_rows_that_cannot_be_removed_do_not_keep_others(
    deleted: Deleted, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = deleted.run(), deleted.run()
    deleted.set_back()
    remove = SqlAlchemyStore._hard_delete_run

    def refuse(store: Any, run: str) -> None:
        remove(store, run)
        if run == bad:
            with store.ManagedSessionMaker(read_only=False) as session:
                session.execute(sa.text("SELECT nothing"))

    with monkeypatch.context() as patched:
        patched.setattr(SqlAlchemyStore, "_hard_delete_run", refuse)
        done = deleted.collect()
    assert done.runs == 1
    assert list(done.failed) == [f"run {bad}"]
    assert deleted.has_files(bad)
    assert not deleted.has_files(good)
    assert deleted.collect().runs == 1
    assert not deleted.has_files(bad)


def test_a_place_that_does_not_answer_does_not_keep_others(deleted: Deleted) -> None:
    shorten_waits(sftp=1, http=1)
    away, here = deleted.run(), deleted.run()
    nowhere = f"sftp://nobody@127.0.0.1:1/store/{away}/artifacts"
    deleted.execute(f"UPDATE runs SET artifact_uri = '{nowhere}' WHERE run_uuid = '{away}'")
    deleted.set_back()
    done = deleted.collect()
    assert (done.runs, done.artifacts) == (2, None)
    assert list(done.failed) == [f"run {away}"]
    assert not deleted.has_files(here)


def test_totals_of_what_fails_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    removal = ArtifactRemoval("", None)

    def refuse(directory: str) -> None:
        raise StorageError(f"{directory}: no answer", "")

    assert removal.totals(["/nowhere/1/abc/artifacts"]) == (0, 0)
    monkeypatch.setattr("mlflow_sftp.operations.artifact_removal._open", refuse)
    assert removal.totals(["/nowhere/1/abc/artifacts"]) is None


def test_what_was_deleted_after_a_backup_that_may_be_restored_stays(deleted: Deleted) -> None:
    early = deleted.run()
    deleted.set_back(60)
    late = deleted.run()
    gone = deleted.client.create_experiment(f"gone {time.time_ns()}", f"{deleted.root}/9")
    deleted.client.delete_experiment(gone)
    deleted.set_back(31)
    before = time.time() - 45 * 86400
    told = deleted.collect(before=before, check=True)
    done = deleted.collect(before=before)
    assert (told.runs, done.runs, done.experiments) == (1, 1, 0)
    assert done.kept.keys() == {f"run {late}", f"experiment {gone}"} == told.kept.keys()
    assert all("an undo restores" in reason for reason in done.kept.values())
    assert not deleted.has_files(early)
    assert deleted.has_files(late)
    assert deleted.collect().runs == 1


def test_what_went_is_noted_for_whoever_deletes_old_copies(deleted: Deleted) -> None:
    run = deleted.run()
    deleted.set_back()
    noted = deleted.journal.with_name("removed")
    assert deleted.collect(removed=noted, check=True).runs == 1
    assert not noted.exists()
    deleted.collect(removed=noted)
    assert noted.read_text() == f"{run}\n"
