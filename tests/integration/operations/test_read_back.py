"""Runs and models read back through a real MLflow server and client, sound and damaged."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import MissingStoreError
from mlflow_sftp.operations import relocate
from mlflow_sftp.operations.copy import copy
from mlflow_sftp.operations.read_back import ReadBack, ReadBackFailure, read_back
from mlflow_sftp.operations.relocate import Request
from mlflow_sftp.stores.base import Item
from mlflow_sftp.stores.sftp import SftpStore
from tests.support.ansible import run_module
from tests.support.mlflow_content import Content
from tests.support.mlflow_server import MlflowServer
from tests.support.sshd import SshServer

RUNS, MODELS = 5, 1


class Moved:
    """A database whose artifacts were moved to `root`, which is at `path` on this machine; `manifest` proves it."""

    def __init__(self, uri: str, content: Content, root: str, path: Path, manifest: Path) -> None:
        self.uri, self.content, self.root, self.path, self.manifest = uri, content, root, path, manifest

    def read_back(self, server: MlflowServer | None = None, **options: Any) -> ReadBack:
        """Through a server, or by MLflow's client alone."""
        tracking_uri = server.uri if server else self.uri
        with Database(self.uri) as database:
            return read_back(database, self.root, tracking_uri, **{"manifest": self.manifest, **options})

    def run(self, name: str) -> Path:
        return next(self.path.glob(f"*/{self.content.runs[name]}/artifacts"))


@pytest.fixture(autouse=True)
def client(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@pytest.fixture
def moved(content: tuple[str, Content], sshd: SshServer, tmp_path: Path) -> Moved:
    uri, made = content
    root, manifest = sshd.uri("artifacts"), tmp_path / "manifest"
    copy(str(made.root), root, manifest=manifest)
    with Database(uri) as database:
        relocate.apply(database, Request((str(made.root),), root), tmp_path / "journal", backup=None)
    made.root.rename(tmp_path / "out of sight")
    return Moved(uri, made, root, sshd.root / "artifacts", manifest)


@contextmanager
def serving(moved: Moved, directory: Path, *flags: str) -> Iterator[MlflowServer]:
    with MlflowServer(directory, flags or ("--default-artifact-root", moved.root)) as server:
        yield server


def test_everything_comes_back_and_each_kind_of_damage_is_named(moved: Moved, tmp_path: Path) -> None:
    with serving(moved, tmp_path) as server:
        sound = moved.read_back(server, runs=None)
        assert (sound.runs, sound.models, sound.problems) == (RUNS, MODELS, [])
        owners = [moved.run(name) for name in moved.content.runs]
        owners += moved.path.glob(f"*/models/{moved.content.model_id}/artifacts")
        on_disk = sum(path.is_file() for owner in owners for path in owner.rglob("*"))
        assert sound.files == on_disk + RUNS  # one of each run from the server, too
        assert moved.read_back(server, runs=None, manifest=None) == sound
        run = moved.content.runs["parent"]
        overwritten, missing = moved.run("parent") / "plain.txt", moved.run("parent") / "dir/deep/er.txt"
        overwritten.write_bytes(overwritten.read_bytes()[:-1] + b"?")
        missing.unlink()
        model = next(moved.path.glob("1/models/*/artifacts/python_model.pkl"))
        model.unlink()
        damaged = moved.read_back(server)
        assert {(each.identifier, each.path) for each in damaged.problems} == {
            (run, "plain.txt"),
            (run, "dir/deep/er.txt"),
            (moved.content.model_id, "python_model.pkl"),
        }
        causes = {each.path: each.cause for each in damaged.problems}
        assert "overwritten since, or damaged" in causes["plain.txt"]
        assert causes["dir/deep/er.txt"] == "MLflow's client did not deliver it"
        moved.run("odd").rename(tmp_path / "away")
        assert (moved.content.runs["odd"], "a.txt") in {
            (each.identifier, each.path) for each in moved.read_back(server).problems
        }
        execute(moved.uri, "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = :r", r=run)
        still = {each.path for each in moved.read_back(server).problems}
        assert "plain.txt" not in still
        assert "dir/deep/er.txt" in still


def test_the_oldest_and_the_newest_are_among_those_chosen(moved: Moved) -> None:
    for number, name in enumerate(("child", "deleted", "parent", "in_deleted", "odd")):
        run = moved.content.runs[name]
        execute(moved.uri, "UPDATE runs SET start_time = :t WHERE run_uuid = :r", t=number, r=run)
    for name in ("deleted", "in_deleted"):
        (moved.run(name) / "a.txt").unlink()
    (moved.run("parent") / "plain.txt").unlink()
    two = moved.read_back(runs=2)
    assert (two.runs, two.problems) == (2, [])
    three = moved.read_back(runs=3)
    assert {each.identifier for each in three.problems} == {moved.content.runs["parent"]}


def add_runs(moved: Moved, count: int) -> list[str]:
    """Runs without files, from the oldest to the newest, newer than those that are there."""
    engine = sa.create_engine(moved.uri, poolclass=sa.NullPool)
    runs = sa.Table("runs", sa.MetaData(), autoload_with=engine)
    with engine.begin() as connection:
        known = connection.execute(sa.select(runs)).mappings().first()
        assert known is not None
        added = [
            {
                **known,
                "run_uuid": f"{number:032}",
                "start_time": 9_000_000_000_000 + number,
                "artifact_uri": f"{moved.root}/1/{number:032}/artifacts",
            }
            for number in range(count)
        ]
        connection.execute(runs.insert(), added)
    return [row["run_uuid"] for row in added]


class Choice:
    """What is chosen, and the directories of the store that are looked at to choose it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chosen: list[str] = []
        self.looked_at: list[str] = []
        walk = SftpStore.walk

        def noted_walk(store: SftpStore, top: str, *options: Any) -> AsyncGenerator[list[Item]]:
            self.looked_at.append(top)
            return walk(store, top, *options)

        monkeypatch.setattr(SftpStore, "walk", noted_walk)
        monkeypatch.setattr(
            "mlflow_sftp.operations.read_back._Reader.check",
            lambda reader, entity: self.chosen.append(entity.identifier),
        )


@pytest.mark.parametrize("knows", ["manifest", "store"])
def test_no_more_is_looked_at_than_the_choice_takes(
    knows: str, moved: Moved, sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evenly from the oldest to the newest; of those without files, the nearest stands in."""
    added = add_runs(moved, 1000)
    filled = [added[index] for index in (496, 505, 999)]
    for run in filled:
        file = moved.path / "1" / run / "artifacts" / "file"
        file.parent.mkdir(parents=True)
        file.write_text(run)
    copy(moved.root, str(tmp_path / "other"), manifest=tmp_path / "of all")
    known = {"manifest": tmp_path / "of all"} if knows == "manifest" else {"manifest": None}
    choice = Choice(monkeypatch)
    moved.read_back(runs=3, **known)
    assert len(choice.chosen) == 4
    # The fourth is the oldest, one of those that were there before.
    newest = {filled[0], filled[2], moved.content.model_id}
    assert len(oldest := {*choice.chosen} - newest) == 1
    assert oldest <= {*moved.content.runs.values()}
    assert len(choice.looked_at) <= (0 if knows == "manifest" else 6)
    assert "" not in choice.looked_at


def test_where_most_have_no_files_one_listing_tells(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    add_runs(moved, 1000)
    choice = Choice(monkeypatch)
    moved.read_back(runs=RUNS, manifest=None)
    assert set(choice.chosen) == {*moved.content.runs.values(), moved.content.model_id}
    assert choice.looked_at.count("") == 1
    assert len(choice.looked_at) < 250


def test_a_store_that_is_not_there_gives_nothing_to_choose_from(moved: Moved, tmp_path: Path) -> None:
    moved.path.rename(tmp_path / "away")
    with pytest.raises(MissingStoreError, match="there is no such directory"):
        moved.read_back(manifest=None)


def test_a_proxied_store_is_compared_with_its_own_bytes(moved: Moved, tmp_path: Path) -> None:
    with Database(moved.uri) as database:
        request = Request((moved.root,), "mlflow-artifacts:/")
        relocate.apply(database, request, tmp_path / "proxied", backup=None, skip_blocked=True)
        flags = ("--serve-artifacts", "--artifacts-destination", moved.root)
        with serving(moved, tmp_path, *flags) as server:
            # A run without artifacts has no directory either.
            MlflowClient(server.uri).create_run(moved.content.experiment)
            sound = read_back(database, "mlflow-artifacts:/", server.uri, store=moved.root)
            # The run whose name has a percent sign could not move to the proxy.
            assert (sound.runs, sound.models, sound.problems) == (RUNS - 1, MODELS, [])
            other = tmp_path / "other"
            copy(moved.root, str(other))
            changed = next(other.glob(f"*/{moved.content.runs['child']}/artifacts/plain.txt"))
            changed.write_text("something else")
            differing = read_back(database, "mlflow-artifacts:/", server.uri, store=str(other))
    assert [(each.path, each.cause[:30]) for each in differing.problems] == [
        ("plain.txt", "MLflow's client delivered 16 b")
    ]


def test_a_server_that_refuses_what_clients_can_reach_is_found(moved: Moved, tmp_path: Path) -> None:
    flags = ("--default-artifact-root", str(tmp_path / "new"), "--no-serve-artifacts")
    with serving(moved, tmp_path, *flags) as server:
        found = moved.read_back(server)
    assert {each.kind for each in found.problems} == {"run"}
    assert len(found.problems) == RUNS
    assert all("server's /get-artifact answers" in each.cause for each in found.problems)


def test_a_store_that_is_gone_ends_it_early(
    moved: Moved, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SFTP_RETRY_TIMEOUT", "1")
    monkeypatch.setattr("mlflow_sftp.operations.read_back.MOST_PROBLEMS", 1)
    sshd.stop()
    found = moved.read_back(runs=None)
    assert 1 <= len(found.problems) <= 4
    assert isinstance(found.problems[0], ReadBackFailure)
    assert f"127.0.0.1:{sshd.port}" in found.problems[0].cause


@pytest.mark.full
def test_the_module(moved: Moved, tmp_path: Path) -> None:
    options: dict[str, Any] = {"root": moved.root, "manifest": str(moved.manifest), "runs": "all"}
    with serving(moved, tmp_path) as server:
        environment = {"MLFLOW_BACKEND_STORE_URI": moved.uri, "MLFLOW_TRACKING_URI": server.uri}
        for check in (True, False):
            sound = run_module("mlflow_artifact_read_back", options, check=check, environment=environment)
            assert not sound.failed, sound.output
            assert (sound.result["changed"], sound.result["runs"], sound.result["models"]) == (False, 5, 1)
        (moved.run("child") / "plain.txt").write_text("damaged")
        failed = run_module("mlflow_artifact_read_back", options, environment=environment)
        named = f"1 problems: {moved.content.runs['child']} plain.txt copied were"
        assert named in failed.result["msg"]
        assert failed.result["problems"][0]["run_id"] == moved.content.runs["child"]
        for runs in ("some", 0):
            wrong = run_module(
                "mlflow_artifact_read_back", {**options, "runs": runs}, environment=environment
            )
            assert "runs must be a number above 0, or all" in wrong.result["msg"]
    nowhere = run_module("mlflow_artifact_read_back", options, environment={"MLFLOW_TRACKING_URI": ""})
    assert "MLFLOW_TRACKING_URI is not set" in nowhere.result["msg"]


def test_the_command(moved: Moved, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mlflow_sftp",
        "read-back",
        moved.root,
        "--manifest",
        str(moved.manifest),
    ]
    with serving(moved, tmp_path) as server:
        environment = {
            **os.environ,
            "MLFLOW_BACKEND_STORE_URI": moved.uri,
            "MLFLOW_TRACKING_URI": server.uri,
        }

        def call(*options: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run([*command, *options], env=environment, capture_output=True, text=True)

        sound = call("--runs", "all", "--json")
        assert sound.returncode == 0, sound.stderr
        report = json.loads(sound.stdout)
        assert (report["contract"], report["runs"], report["models"], report["problems"]) == (1, 5, 1, [])
        (moved.run("child") / "plain.txt").write_text("damaged")
        damaged = call("--runs", "all")
        assert damaged.returncode == 3, damaged.stderr
        assert f"run {moved.content.runs['child']} plain.txt: copied were" in damaged.stdout
        assert call("--runs", "0").returncode == 2


def execute(uri: str, statement: str, **values: object) -> None:
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(statement), values)
