"""Audit of databases made by MLflow against their artifacts, local and on a real SFTP server."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlflow_sftp.cli.audit import audit_command
from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import StorageError
from mlflow_sftp.operations import relocate
from mlflow_sftp.operations.audit import QUARANTINE, Audit, audit
from mlflow_sftp.operations.copy import copy
from mlflow_sftp.operations.relocate import Request
from tests.integration.relocate.conftest import Filled
from tests.integration.relocate.test_relocate import execute
from tests.support.ansible import run_module
from tests.support.mlflow_content import Content
from tests.support.sshd import SshServer


@dataclass
class Store:
    """A private store: `root` as the database spells it, `path` where it is on this machine."""

    uri: str
    root: str
    path: Path
    content: Content

    def audit(self, **options: object) -> Audit:
        with Database(self.uri) as database:
            return audit(database, self.root, **options)  # type: ignore[arg-type]  # passed on as they are

    def problems(self, **options: object) -> set[tuple[str, str]]:
        return {(problem.kind, problem.path) for problem in self.audit(**options).problems}


# What is below the root although no row names it: the file of a data set.
USUAL = {("orphaned", "data.csv")}


@pytest.fixture(params=["local", "sftp"])
def store(
    request: pytest.FixtureRequest,
    sqlite_copy: Filled,
    sshd: SshServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
    path = sshd.root / "artifacts"
    shutil.copytree(sqlite_copy.root, path)
    root = str(path) if request.param == "local" else sshd.uri(path)
    with Database(sqlite_copy.uri) as database:
        relocate.apply(database, Request((sqlite_copy.root,), root), tmp_path / "journal", backup=None)
    execute(
        sqlite_copy.uri,
        "UPDATE experiments SET artifact_location = :v WHERE experiment_id = 0",
        v=f"{root}/0",
    )
    return Store(sqlite_copy.uri, root, path, sqlite_copy.content)


def test_a_sound_store_agrees(store: Store) -> None:
    found = store.audit()
    assert {(problem.kind, problem.path) for problem in found.problems} == USUAL
    assert found.files == sum(len(files) for _, _, files in os.walk(store.path))
    assert found.locations == 14


def test_missing_truncated_orphaned_and_unknown_are_found(store: Store) -> None:
    model = f"1/models/{store.content.model_id}/artifacts"
    (store.path / model / "python_model.pkl").unlink()
    (store.path / "1" / ("f" * 32) / "artifacts").mkdir(parents=True)
    (store.path / "1" / ("f" * 32) / "artifacts" / "a").write_bytes(bytes(10))
    (store.path / "1" / ("f" * 32) / "artifacts" / "b").write_bytes(bytes(10))
    (store.path / "77").mkdir()
    (store.path / "77" / "x").touch()
    run = store.content.runs["child"]
    execute(store.uri, "UPDATE runs SET artifact_uri = 's3://b/p' WHERE run_uuid = :r", r=run)
    assert store.problems() == USUAL | {
        ("truncated", model),
        ("orphaned", f"1/{'f' * 32}"),
        ("orphaned", f"1/{run}"),
        ("orphaned", "77"),
        ("unknown_location", "s3://b/p"),
    }
    orphan = next(problem for problem in store.audit().problems if problem.path == f"1/{'f' * 32}")
    assert (orphan.files, orphan.bytes) == (2, 20)
    shutil.rmtree(store.path / model)
    assert ("missing", model) in store.problems()


def test_a_model_without_its_description_is_missing_it(store: Store) -> None:
    model = f"1/models/{store.content.model_id}/artifacts"
    (store.path / model / "MLmodel").unlink()
    assert store.problems() == USUAL | {("missing", f"{model}/MLmodel")}


def test_a_manifest_knows_every_file(store: Store, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest"
    copy(store.content.root.as_posix(), store.root, manifest=manifest)
    assert store.problems(manifest=manifest) == USUAL
    run = f"1/{store.content.runs['parent']}/artifacts"
    os.truncate(store.path / run / "plain.txt", 3)
    (store.path / run / "with space.txt").unlink()
    assert store.problems(manifest=manifest) == USUAL | {
        ("truncated", f"{run}/plain.txt"),
        ("missing", f"{run}/with space.txt"),
    }


def test_quarantine_moves_orphans_aside_and_deletes_nothing(store: Store) -> None:
    (store.path / "1" / "left" / "deep").mkdir(parents=True)
    (store.path / "1" / "left" / "deep" / "x").write_text("kept")
    foreseen = store.audit(quarantine=True, check=True)
    assert set(foreseen.quarantined) == {"data.csv", "1/left"}
    assert (store.path / "data.csv").exists()
    moved = store.audit(quarantine=True).quarantined
    assert not (store.path / "1" / "left").exists()
    assert (store.path / moved["1/left"] / "deep" / "x").read_text() == "kept"
    assert moved["data.csv"].startswith(QUARANTINE)
    assert store.problems() == set()


def test_the_module_moves_orphans_aside(store: Store, sshd: SshServer) -> None:
    environment = {"MLFLOW_BACKEND_STORE_URI": store.uri, "MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)}
    options = {"root": store.root}
    foreseen = run_module("mlflow_artifact_quarantine", options, check=True, environment=environment)
    assert (foreseen.result["changed"], (store.path / "data.csv").exists()) == (True, True), foreseen.output
    done = run_module("mlflow_artifact_quarantine", options, environment=environment)
    moved = done.result["quarantined"]
    assert done.result["audit"]["quarantined"] == moved
    assert list(moved) == list(foreseen.result["quarantined"]) == ["data.csv"]
    assert (store.path / moved["data.csv"]).read_text() == "x\n1\n2\n"
    assert done.result["audit"]["counts"] == {"orphaned": 1}
    assert done.result["diff"] == {"before": "data.csv\n", "after": f"{moved['data.csv']}\n"}
    for check in (True, False):
        again = run_module("mlflow_artifact_quarantine", options, check=check, environment=environment)
        assert (again.failed, again.result["changed"], again.result["audit"]["counts"]) == (False, False, {})


KILLED = """
import os, signal, sys
from mlflow_sftp.operations.audit import audit
from mlflow_sftp.stores.local import LocalStore
from mlflow_sftp.stores.sftp import SftpStore
from mlflow_sftp.database.database import Database
for place in (LocalStore, SftpStore):
    async def move_and_die(self, path, target, move=place.move):
        await move(self, path, target)
        os.kill(os.getpid(), signal.SIGKILL)
    place.move = move_and_die
with Database(sys.argv[1]) as database:
    audit(database, sys.argv[2], quarantine=True)
"""


def test_a_killed_quarantine_has_lost_nothing_and_is_finished_by_the_next(store: Store) -> None:
    (store.path / "77").mkdir()
    (store.path / "77" / "x").touch()
    names = sorted(path.name for path in store.path.rglob("*") if path.is_file())
    child = subprocess.run([sys.executable, "-c", KILLED, store.uri, store.root], capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert len(store.audit(quarantine=True).quarantined) == 1
    assert store.problems() == set()
    assert sorted(path.name for path in store.path.rglob("*") if path.is_file()) == names


def test_a_wrong_root_moves_nothing_aside(store: Store) -> None:
    before = set(store.path.rglob("*"))
    with Database(store.uri) as database, pytest.raises(StorageError, match="no row of the database"):
        audit(database, "mlflow-artifacts:/", store=store.root, quarantine=True)
    assert set(store.path.rglob("*")) == before


def test_what_is_logged_during_the_audit_is_not_taken_for_orphaned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is there before its first file, but after the audit has read the rows."""
    from mlflow_sftp.operations import audit as module

    original = module._Auditor._read_store

    async def log_then_read(self: module._Auditor, expected: dict[str, int]) -> None:
        run = "e" * 32
        execute(
            store.uri,
            "INSERT INTO runs (run_uuid, experiment_id, artifact_uri) VALUES (:r, 1, :u)",
            r=run,
            u=f"{store.root}/1/{run}/artifacts",
        )
        (store.path / "1" / run / "artifacts").mkdir(parents=True)
        (store.path / "1" / run / "artifacts" / "fresh").touch()
        await original(self, expected)

    monkeypatch.setattr(module._Auditor, "_read_store", log_then_read)
    assert store.problems(quarantine=True) == USUAL


def test_a_proxied_root_is_looked_up_in_its_destination(store: Store, tmp_path: Path) -> None:
    with Database(store.uri) as database:
        request = Request((store.root,), "mlflow-artifacts:/")
        relocate.apply(database, request, tmp_path / "proxied", backup=None, skip_blocked=True)
        found = audit(database, "mlflow-artifacts:/", store=store.root)
    kinds = {(problem.kind, problem.path) for problem in found.problems}
    # The name with a percent sign cannot be served by the proxy, so its rows stayed behind.
    assert {kind for kind, _ in kinds - USUAL} == {"unknown_location", "orphaned"}
    assert ("orphaned", "odd name %41") in kinds


def test_the_command_prints_a_table_or_json(store: Store) -> None:
    environment = {"MLFLOW_BACKEND_STORE_URI": store.uri}
    table = CliRunner().invoke(audit_command, [store.root], env=environment)
    assert table.exit_code == 3
    assert "orphaned          data.csv (1 files, 6 B): no row" in table.stdout
    assert table.stdout.splitlines()[-1].endswith("14 locations: 1 orphaned")
    moved = CliRunner().invoke(audit_command, [store.root, "--quarantine", "--json"], env=environment)
    assert list(json.loads(moved.stdout)["quarantined"]) == ["data.csv"]
    clean = CliRunner().invoke(audit_command, [store.root], env=environment)
    assert (clean.exit_code, clean.stdout.endswith("no disagreement\n")) == (0, True)
