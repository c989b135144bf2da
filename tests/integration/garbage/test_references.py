"""What another row leads to stays, however that spells it, and whenever it was made."""

import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations import garbage
from mlflow_sftp.operations.references import Entity, References
from tests.integration.garbage.conftest import Deleted

SFTP = "sftp://me@host:22/store"


@pytest.mark.parametrize(
    ("location", "source", "leads"),
    [
        (f"{SFTP}/1/ID/artifacts", f"{SFTP}/1/ID/artifacts/model", True),
        (f"{SFTP}/1/ID/artifacts", "sftp://host/store//1/ID/artifacts", True),
        (f"{SFTP}/1/ID/artifacts", "sftp://127.0.0.1:22/store/1/%49D/artifacts/%6Dodel", True),
        (f"{SFTP}/1/ID/artifacts", "sftp://alias/store/1", True),
        (f"{SFTP}/1/ID/artifacts", "sftp://host/store/0/../1/ID", True),
        (f"{SFTP}/1/ID/artifacts", "sftp://host/store/2", False),
        (f"{SFTP}/1/ID/artifacts", "sftp://host/store/1/other/artifacts", False),
        (f"{SFTP}/1/ID/artifacts", "mlflow-artifacts:/1/ID/artifacts/model", True),
        (f"{SFTP}/1/ID/artifacts", "mlflow-artifacts://server:5000/1", True),
        ("mlflow-artifacts:/1/ID/artifacts", "sftp://host/store/1", True),
        ("mlflow-artifacts:/1/ID/artifacts", f"{SFTP}/1/ID/artifacts", True),
        (
            "mlflow-artifacts:/1/ID/artifacts",
            "http://server/api/2.0/mlflow-artifacts/artifacts/1/ID/artifacts/a b",
            True,
        ),
        ("/store/1/ID/artifacts", "file:///store/1/ID/artifacts", True),
        ("file:///store/1/ID/artifacts", "/store/1", True),
        ("/store/1/ID/artifacts", "runs:/ID/model", True),
        ("/store/1/ID/artifacts", "runs:/other/model", False),
        ("/store/1/ID/artifacts", "s3://bucket/1/ID/artifacts", True),
        ("/store/1/ID/artifacts", "/store/1/IDENTITY/artifacts", False),
    ],
)
def test_spellings(deleted: Deleted, location: str, source: str, leads: bool) -> None:
    run = deleted.client.create_run(deleted.experiment).info.run_id
    name = deleted.register(run, source)
    with Database(deleted.uri) as database, database.reading() as connection:
        found = References([Entity("run", "ID", location)], SFTP).find(database, connection)
    reason = f"version 1 of the registered model {name} needs its artifacts"
    assert found == ({"run ID": reason} if leads else {})


@pytest.mark.parametrize("how", ["a run", "an experiment"])
def test_rows_that_are_no_versions_lead_there_as_well(deleted: Deleted, how: str) -> None:
    run, other = deleted.run(), deleted.run()
    inside = f"{deleted.root}/1/{run}/artifacts/inside"
    if how == "a run":
        deleted.client.restore_run(other)
        deleted.execute(f"UPDATE runs SET artifact_uri = '{inside}' WHERE run_uuid = '{other}'")
    else:
        deleted.client.create_experiment(inside, inside)
    deleted.set_back()
    assert "needs its artifacts" in deleted.collect().kept[f"run {run}"]
    assert deleted.has_files(run)


def test_a_version_that_is_registered_meanwhile_keeps_its_run(
    deleted: Deleted, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = deleted.run(), deleted.run()
    deleted.set_back()
    write = garbage._write_journal

    def register_then_write(*arguments: object) -> None:
        monkeypatch.setattr(garbage, "_write_journal", write)
        deleted.client.restore_run(run)
        deleted.register(run, f"runs:/{run}/model")
        deleted.client.delete_run(run)
        deleted.set_back()
        write(*arguments)  # type: ignore[arg-type]

    # Between the look and the removal.
    monkeypatch.setattr(garbage, "_write_journal", register_then_write)
    done = deleted.collect()
    assert done.runs == 1
    assert "of the registered model" in done.kept[f"run {run}"]
    assert deleted.has_files(run)
    assert not deleted.has_files(other)
    assert not deleted.journal.exists()


def test_what_no_location_can_be_read_of_stays(deleted: Deleted) -> None:
    run = deleted.run()
    deleted.execute(f"UPDATE runs SET artifact_uri = 's3://b/1/{run}/artifacts' WHERE run_uuid = '{run}'")
    deleted.set_back()
    assert deleted.collect().kept == {f"run {run}": "its location is of no kind that is known here"}
