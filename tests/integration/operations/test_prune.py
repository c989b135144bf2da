"""Pruning of a store that was copied to another one: what goes, what stays, and that nothing is ever lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlflow_sftp.cli.prune import prune_command
from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import LocationError, SftpError, StorageError
from mlflow_sftp.operations import relocate
from mlflow_sftp.operations.copy import copy
from mlflow_sftp.operations.prune import PruneReport, prune
from mlflow_sftp.operations.relocate import Request
from mlflow_sftp.stores.local import LocalStore
from mlflow_sftp.stores.sftp import SftpStore
from tests.integration.operations.test_copy import Tree, read_tree
from tests.integration.operations.test_read_back import execute
from tests.support.ansible import run_module
from tests.support.mlflow_content import Content
from tests.support.sshd import SshServer

REFERENCED = "a row of the database leads there"
UNKNOWN = "no manifest has it"


@dataclass
class Copied:
    """A store at `path` (named `source`) that was copied to `target_path` (named `target`), rows included."""

    uri: str
    content: Content
    path: Path
    target_path: Path
    source: str
    target: str
    manifest: Path

    def prune(self, **options: Any) -> PruneReport:
        with Database(self.uri) as database:
            return prune(self.source, self.target, [self.manifest], database, **options)

    def files(self) -> set[str]:
        return {os.fsdecode(path) for path, content in read_tree(self.path).items() if content is not None}

    def run(self, name: str) -> str:
        return f"1/{self.content.runs[name]}/artifacts"


@pytest.fixture(params=["local-sftp", "sftp-local", "sftp-sftp", "local-local"])
def copied(
    request: pytest.FixtureRequest,
    content: tuple[str, Content],
    sshd: SshServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Copied:
    return make_copy(request.param, content, sshd, tmp_path, monkeypatch)


@pytest.fixture
def to_sftp(
    content: tuple[str, Content], sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Copied:
    return make_copy("local-sftp", content, sshd, tmp_path, monkeypatch)


def make_copy(
    way: str,
    content: tuple[str, Content],
    sshd: SshServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Copied:
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
    monkeypatch.setenv("MLFLOW_SFTP_RETRY_TIMEOUT", "2")
    uri, made = content
    target_path, manifest = tmp_path / "target", tmp_path / "manifest"
    spell = {"local": str, "sftp": sshd.uri}
    one, other = way.split("-")
    source, target = spell[one](made.root), spell[other](target_path)
    copy(source, target, manifest=manifest)
    with Database(uri) as database:
        relocate.apply(database, Request((str(made.root),), target), tmp_path / "journal", backup=None)
    return Copied(uri, made, made.root, target_path, source, target, manifest)


def test_everything_proven_goes_and_the_copy_stays(copied: Copied) -> None:
    files, copy = copied.files(), read_tree(copied.target_path)
    foreseen = copied.prune(check=True)
    assert copied.files() == files
    done = copied.prune()
    assert done == foreseen
    assert (done.deleted.files, done.kept_files, done.kept) == (len(files), 0, {})
    assert done.directories > 5
    assert (copied.path.is_dir(), os.listdir(copied.path)) == (True, [])
    assert read_tree(copied.target_path) == copy
    again = copied.prune()
    assert (again.changed, again.deleted, again.directories) == (False, (0, 0), 0)


def test_what_is_not_proven_or_still_needed_stays(copied: Copied, tmp_path: Path) -> None:
    before = copied.files()
    parent, child = copied.run("parent"), copied.run("child")
    location = f"{copied.source}/{copied.run('deleted')}"
    execute(
        copied.uri,
        "UPDATE runs SET artifact_uri = :v WHERE run_uuid = :r",
        v=location,
        r=copied.content.runs["deleted"],
    )
    (copied.path / parent / "plain.txt").write_text("changed since")
    damaged = copied.target_path / child / "plain.txt"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    (copied.target_path / child / "with space.txt").unlink()
    (copied.path / parent / "dir" / "new.txt").write_text("never copied")
    outside = tmp_path / "outside"
    shutil.move(copied.path / child / "dir", outside)
    (copied.path / child / "dir").symlink_to(outside)
    (copied.path / child / "-dash").rename(tmp_path / "dash")
    (copied.path / child / "-dash").symlink_to(tmp_path / "dash")
    expected = {
        f"{copied.run('deleted')}/a.txt": REFERENCED,
        f"{parent}/plain.txt": "it has changed since it was copied",
        f"{parent}/dir/new.txt": UNKNOWN,
        f"{child}/plain.txt": "the destination has other bytes",
        f"{child}/with space.txt": "the destination cannot give it: ",
    }
    foreseen = copied.prune(check=True)
    done = copied.prune()
    assert done == foreseen
    assert {path: done.kept[path][: len(reason)] for path, reason in expected.items()} == expected
    # What a link leads to is listed, or the link is named where it leads out of the server's root; it is never touched.
    assert set(done.kept) - set(expected) <= {f"{child}/-dash", f"{child}/dir", f"{child}/dir/deep/er.txt"}
    assert set(done.kept.values()) - {REFERENCED, UNKNOWN} > set()
    assert (outside / "deep" / "er.txt").exists()
    assert (tmp_path / "dash").exists()
    assert (copied.path / child / "-dash").is_symlink()
    assert expected.keys() <= copied.files()
    assert done.deleted.files == len(before) - len(expected) - 2 + 1
    for path in before - copied.files():
        assert (copied.target_path / path).exists()
    assert not copied.prune().changed


def test_a_copy_compared_by_size_proves_nothing(to_sftp: Copied) -> None:
    to_sftp.manifest.unlink()
    copy(to_sftp.source, to_sftp.target, manifest=to_sftp.manifest, verify="size")
    found = to_sftp.prune()
    assert not found.changed
    assert list(found.reasons) == ["no manifest says that it was copied and compared by SHA-256"]


def test_a_file_that_changes_while_both_sides_are_read_stays(
    to_sftp: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source has been read, the target is being read, and somebody writes."""
    changed = sorted(to_sftp.files())[0]
    digest = SftpStore.digest

    async def write_and_read(store: SftpStore, relative: str, size: int) -> tuple[int, str]:
        if relative == changed:
            with (to_sftp.path / changed).open("r+b") as file:
                file.write(b"!")
        return await digest(store, relative, size)

    monkeypatch.setattr(SftpStore, "digest", write_and_read)
    report = to_sftp.prune()
    assert report.kept == {changed: "it has changed since it was copied"}
    assert to_sftp.files() == {changed}


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("{root}", 14),
        ("file://{root}/1", 11),
        ("{root}/1/../1", 11),
        ("{link}/1", 11),
        ("/elsewhere", 0),
    ],
)
def test_directories_of_every_kind_of_row_stay(
    to_sftp: Copied, tmp_path: Path, location: str, kept: int
) -> None:
    link = tmp_path / "link"
    link.symlink_to(to_sftp.path)
    value = location.format(root=to_sftp.path, link=link)
    execute(to_sftp.uri, "UPDATE experiments SET artifact_location = :v WHERE experiment_id = 1", v=value)
    total = len(to_sftp.files())
    report = to_sftp.prune()
    if kept == 14:
        assert report.kept_files == total
    elif kept:
        assert report.kept_files == report.reasons[REFERENCED] > 5
        assert all(path.startswith("1/") for path in report.kept)
    else:
        assert report.kept_files == 0


def test_a_source_that_the_database_spells_in_another_way(to_sftp: Copied, tmp_path: Path) -> None:
    with Database(to_sftp.uri) as database:
        request = Request((to_sftp.target,), "mlflow-artifacts:/")
        relocate.apply(database, request, tmp_path / "proxied", backup=None, skip_blocked=True)
    assert to_sftp.prune(root="mlflow-artifacts:/", check=True).reasons[REFERENCED] > 5
    assert to_sftp.prune(check=True).kept_files == 0


def test_a_relative_row_needs_to_be_told_where_it_starts(to_sftp: Copied) -> None:
    execute(to_sftp.uri, "UPDATE experiments SET artifact_location = './mlruns/1' WHERE experiment_id = 1")
    with pytest.raises(StorageError, match=r"experiments.artifact_location .* \./mlruns/1"):
        to_sftp.prune()
    report = to_sftp.prune(working_directory=str(to_sftp.path.parent))
    assert report.reasons[REFERENCED] > 5


def test_two_names_of_one_place_are_found_out(to_sftp: Copied, sshd: SshServer, tmp_path: Path) -> None:
    """Each would prove the other, and the only copy be deleted."""
    before = read_tree(to_sftp.path)
    link, manifest = tmp_path / "link", tmp_path / "self"
    link.symlink_to(to_sftp.path)
    for target in (str(link), sshd.uri(to_sftp.path)):
        manifest.unlink(missing_ok=True)
        copy(str(to_sftp.path), target, manifest=manifest)
        with Database(to_sftp.uri) as database, pytest.raises(StorageError, match="are one place"):
            prune(str(to_sftp.path), target, [manifest], database)
        assert read_tree(to_sftp.path) == before


def test_what_several_copies_brought(to_sftp: Copied, tmp_path: Path) -> None:
    """One by one the parts of a store were moved, and some files twice."""
    first, rest = tmp_path / "first", tmp_path / "rest"
    parent, child, left_out = (to_sftp.run(name) for name in ("parent", "child", "deleted"))
    total = copy(to_sftp.source, to_sftp.target, manifest=first, include=(parent, child)).total
    copy(to_sftp.source, to_sftp.target, manifest=rest, exclude=(child, left_out))
    with Database(to_sftp.uri) as database:
        everywhere = to_sftp.source, to_sftp.target
        one = prune(*everywhere, [first], database, check=True)
        both = prune(*everywhere, [first, rest], database, check=True)
        assert one.deleted == total
        left = {path for path in to_sftp.files() if path.startswith(left_out)}
        assert set(both.kept) == left
        assert set(both.kept.values()) == {UNKNOWN}
        assert both.deleted.files == len(to_sftp.files()) - len(left)
        assert prune(*everywhere, [first, rest], database).deleted == both.deleted
    assert to_sftp.files() == left


def test_mistakes_are_named(to_sftp: Copied, tmp_path: Path) -> None:
    with Database(to_sftp.uri) as database:
        with pytest.raises(StorageError, match="belongs to a copy from"):
            prune(str(tmp_path), to_sftp.target, [to_sftp.manifest], database)
        with pytest.raises(StorageError, match="no such manifest"):
            prune(to_sftp.source, to_sftp.target, [to_sftp.manifest, tmp_path / "none"], database)
        with pytest.raises(LocationError):
            prune("mlflow-artifacts:/", to_sftp.target, [to_sftp.manifest], database)


def test_a_server_that_goes_away_stops_it_with_nothing_lost(
    to_sftp: Copied, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, removed = LocalStore.remove_file, []
    whole = read_tree(to_sftp.path)

    async def stop_after_three(self: LocalStore, relative: str) -> None:
        await original(self, relative)
        removed.append(relative)
        if len(removed) == 3:
            sshd.stop()

    monkeypatch.setattr(LocalStore, "remove_file", stop_after_three)
    monkeypatch.setattr(LocalStore, "max_concurrent_files", lambda self: 1)
    with pytest.raises(SftpError, match=r"127\.0\.0\.1"):
        to_sftp.prune()
    assert len(removed) == 3
    assert_nothing_lost(to_sftp, whole)
    sshd.start()
    assert to_sftp.prune().kept_files == 0
    assert_nothing_lost(to_sftp, whole)


CHILD = """
import os, signal, sys
from pathlib import Path
from mlflow_sftp.stores.{module} import {kind}
from mlflow_sftp.operations.prune import prune
from mlflow_sftp.database.database import Database
uri, source, target, manifest, method, count = sys.argv[1:]
original = getattr({kind}, method)
async def then_die(self, relative):
    global count
    result = await original(self, relative)
    count = int(count) - 1
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr({kind}, method, then_die)
with Database(uri) as database:
    prune(source, target, [Path(manifest)], database)
"""


@pytest.mark.parametrize(
    ("method", "count"), [("remove_file", 1), ("remove_file", 7), ("remove_directory", 3)]
)
def test_a_killed_prune_has_lost_nothing_and_is_finished_by_the_next(
    copied: Copied, method: str, count: int
) -> None:
    whole = read_tree(copied.path)
    kind, module = ("SftpStore", "sftp") if copied.source.startswith("sftp") else ("LocalStore", "local")
    arguments = [copied.uri, copied.source, copied.target, str(copied.manifest), method, str(count)]
    program = CHILD.format(kind=kind, module=module)
    child = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert read_tree(copied.path) != whole
    assert_nothing_lost(copied, whole)
    assert copied.prune().kept_files == 0
    assert os.listdir(copied.path) == []
    assert_nothing_lost(copied, whole)


def assert_nothing_lost(copied: Copied, whole: Tree) -> None:
    at_target = read_tree(copied.target_path)
    assert {path: at_target[path] for path in whole} == whole


def test_the_module(to_sftp: Copied, sshd: SshServer) -> None:
    options = {"src": to_sftp.source, "dest": to_sftp.target, "manifests": [str(to_sftp.manifest)]}
    environment = {
        "MLFLOW_BACKEND_STORE_URI": to_sftp.uri,
        "MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config),
        "MLFLOW_SFTP_RETRY_TIMEOUT": "1",
    }
    (to_sftp.path / "new").touch()
    files = to_sftp.files()
    foreseen = run_module("mlflow_artifact_prune", options, check=True, environment=environment)
    assert (foreseen.failed, foreseen.result["changed"], to_sftp.files()) == (False, True, files), (
        foreseen.output
    )
    done = run_module("mlflow_artifact_prune", options, environment=environment)
    assert done.result == foreseen.result
    assert done.result["deleted"]["files"] == len(files) - 1
    assert (done.result["kept_files"], done.result["kept"]) == (1, {"new": UNKNOWN})
    assert done.result["diff"] == {"before": f"{len(files)} files\n", "after": "1 files\n"}
    for check in (True, False):
        again = run_module("mlflow_artifact_prune", options, check=check, environment=environment)
        assert (again.failed, again.result["changed"]) == (False, False)
    sshd.stop()
    stopped = run_module("mlflow_artifact_prune", options, environment=environment)
    assert f"127.0.0.1:{sshd.port}" in stopped.result["msg"]
    assert "Traceback" not in stopped.output


def test_the_command(to_sftp: Copied) -> None:
    arguments = [to_sftp.source, to_sftp.target, "--manifest", str(to_sftp.manifest)]
    environment = {"MLFLOW_BACKEND_STORE_URI": to_sftp.uri}
    (to_sftp.path / "new").touch()
    foreseen = CliRunner().invoke(prune_command, [*arguments, "--check"], env=environment)
    assert (foreseen.exit_code, "would be deleted, 1 files stay" in foreseen.stdout) == (3, True)
    assert foreseen.stdout.splitlines()[1].strip() == f"1 stay: {UNKNOWN}"
    (to_sftp.path / "new").unlink()
    done = CliRunner().invoke(prune_command, [*arguments, "--json"], env=environment)
    assert (done.exit_code, json.loads(done.stdout)["kept_files"]) == (0, 0)
    wrong = CliRunner().invoke(prune_command, ["/tmp", *arguments[1:]], env=environment)
    assert (wrong.exit_code, "belongs to a copy from" in wrong.stderr) == (1, True)


def test_what_gc_removed_from_the_copy_goes_as_well(to_sftp: Copied, tmp_path: Path) -> None:
    run = to_sftp.content.runs["deleted"]
    shutil.rmtree(to_sftp.target_path / to_sftp.run("deleted"))
    (to_sftp.path / "stranger").write_text("not copied")
    noted = tmp_path / "removed"
    noted.write_text(f"{run}\n")
    # Its row is there still: what is missing then is lost.
    lost = to_sftp.prune(removed=noted, check=True)
    assert lost.kept_copied > 0
    execute(to_sftp.uri, f"UPDATE runs SET artifact_uri = '/elsewhere' WHERE run_uuid = '{run}'")
    unknown = to_sftp.prune(check=True)
    assert unknown.kept_copied == lost.kept_copied
    done = to_sftp.prune(removed=noted)
    assert (done.kept_copied, done.kept_files, done.kept) == (0, 1, {"stranger": UNKNOWN})
    assert to_sftp.files() == {"stranger"}
