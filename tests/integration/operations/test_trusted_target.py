"""A copy that takes its target for what the last complete one left: what arrives, is listed, and ends the trust."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.errors import ManifestError, StorageError
from mlflow_sftp.operations.copy import CopyReport, Progress, Verify, copy
from mlflow_sftp.transfer import local_files
from tests.integration.operations.test_copy import Spell, read_tree
from tests.support.sshd import SshServer

WAYS = ["local-local", "local-sftp", "sftp-local"]


class Pair:
    """A source with a few directories, and how it is copied to a target."""

    def __init__(self, source: Path, target: Path, spell: tuple[Spell, Spell], manifest: Path) -> None:
        self.source, self.target, self.manifest = source, target, manifest
        self._age = time.time() - 100
        self.places = spell[0](source), spell[1](target)
        for name in ("touched/a", "touched/b", "touched/log", "apart/a", "apart/deep/a"):
            self.write(name, name)
        (source / "empty").mkdir()
        time.sleep(0.05)

    def write(self, name: str, text: str) -> None:
        """Have a file at the source that is older than a listing can tell apart, once a tick has passed."""
        file = self.source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self._age -= 10
        os.utime(file, (self._age, self._age))

    def copy(self, **options: Any) -> CopyReport:
        """As the last copy left it."""
        return copy(*self.places, **{"manifest": self.manifest, "trust_target": True, **options})

    def lose(self, name: str = "apart/a") -> None:
        """Take a file away from the target, which a copy that trusts it does not see."""
        (self.target / name).unlink()

    def has(self, name: str = "apart/a") -> bool:
        return (self.target / name).exists()


@pytest.fixture(autouse=True)
def client(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
    monkeypatch.setenv("MLFLOW_SFTP_RETRY_TIMEOUT", "5")


@pytest.fixture(params=WAYS)
def pair(request: pytest.FixtureRequest, sshd: SshServer, tmp_path: Path) -> Pair:
    spell: dict[str, Spell] = {"local": str, "sftp": sshd.uri}
    one, other = request.param.split("-")
    return Pair(sshd.root / "source", sshd.root / "target", (spell[one], spell[other]), tmp_path / "m")


@pytest.mark.parametrize("verify", ["sha256", "size"])
def test_whatever_is_new_or_changed_arrives(verify: Verify, pair: Pair) -> None:
    pair.copy(verify=verify)
    pair.write("touched/a", "of another size")
    pair.write("apart/deep/a", "changed".ljust(len("apart/deep/a")))
    pair.write("touched/log", "touched/log and more")
    pair.write("new/deep/file", "new")
    (pair.source / "new/empty").mkdir()
    time.sleep(0.05)
    foreseen = pair.copy(verify=verify, check=True)
    report = pair.copy(verify=verify)
    assert (report.failed, report.copied.files + report.equal.files) == ({}, 4)
    assert foreseen.copied.files + foreseen.equal.files == 4
    if verify == "sha256":  # Sizes do not tell that one of them changed.
        assert read_tree(pair.target) == read_tree(pair.source)
    pair.lose()
    assert pair.copy(verify=verify).changed is False


def test_only_what_is_touched_is_listed(pair: Pair) -> None:
    """Once more after it, everything is: a name was missing in the end."""
    pair.copy()
    pair.lose("apart/a")
    pair.lose("touched/b")
    pair.write("touched/a", "changed")
    (pair.source / "touched/directory").mkdir()
    time.sleep(0.05)
    report = pair.copy()
    assert report.failed == {"touched/b": "the target does not list a file of this name"}
    assert report.copied.files == 1
    assert not pair.has("apart/a")
    again = pair.copy()
    assert (again.failed, again.copied.files) == ({}, 2)
    assert read_tree(pair.target) == read_tree(pair.source)


def test_a_directory_that_is_lost_in_the_end_is_reported(pair: Pair) -> None:
    pair.copy()
    for name in ("touched/x/file", "y/file"):
        pair.write(name, name)
    (pair.source / "z").mkdir()

    def lose(progress: Progress) -> None:
        if progress.files == 2:
            shutil.rmtree(pair.target / "touched/x")
            (pair.target / "z").rmdir()

    assert set(pair.copy(on_progress=lose).failed) >= {"touched/x", "z"}


def test_without_the_option_everything_is_listed(pair: Pair) -> None:
    pair.copy()
    pair.lose()
    assert pair.copy(trust_target=False).copied.files == 1


def test_a_check_neither_ends_the_trust_nor_begins_it(pair: Pair) -> None:
    pair.copy(check=True)
    assert not pair.target.exists()
    pair.copy()
    pair.copy(check=True)
    pair.lose()
    assert not pair.copy().changed


def test_what_only_the_target_has_is_still_counted(pair: Pair) -> None:
    pair.target.mkdir()
    (pair.target / "of somebody else").write_text("x")
    assert [pair.copy().extra, pair.copy().extra] == [1, 1]


def test_a_target_that_is_gone_is_not_trusted(pair: Pair) -> None:
    pair.copy()
    shutil.rmtree(pair.target)
    assert pair.copy().copied.files == 5
    assert read_tree(pair.target) == read_tree(pair.source)


Interruption = Callable[[Pair, pytest.MonkeyPatch], None]


def killed(pair: Pair, _: pytest.MonkeyPatch) -> None:
    """Once both sides are known, and before anything is sent."""
    code = (
        "import os, signal, sys; from pathlib import Path; from mlflow_sftp.operations.copy import copy;"
        "copy(*sys.argv[1:3], manifest=Path(sys.argv[3]), trust_target=True,"
        " on_progress=lambda progress: os.kill(os.getpid(), signal.SIGKILL))"
    )
    command = [sys.executable, "-c", code, *pair.places, str(pair.manifest)]
    assert subprocess.run(command).returncode == -9


def stopped(pair: Pair, _: pytest.MonkeyPatch) -> None:
    def stop(progress: Progress) -> None:
        raise StorageError("stopped")

    with pytest.raises(StorageError, match="stopped"):
        pair.copy(on_progress=stop)


def without_its_source(pair: Pair, _: pytest.MonkeyPatch) -> None:
    away = pair.source.with_name("away")
    pair.source.rename(away)
    with pytest.raises(StorageError, match="no such file or directory"):
        pair.copy()
    away.rename(pair.source)


def incomplete(pair: Pair, _: pytest.MonkeyPatch) -> None:
    (pair.source / "dangling").symlink_to("nowhere")
    assert list(pair.copy().failed) == ["dangling"]


def of_a_part(pair: Pair, _: pytest.MonkeyPatch) -> None:
    assert not pair.copy(include=("touched",)).failed


@pytest.mark.parametrize("interruption", [killed, stopped, without_its_source, incomplete, of_a_part])
def test_after_another_than_a_complete_copy_everything_is_listed(
    interruption: Interruption, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.copy()
    interruption(pair, monkeypatch)
    pair.lose()
    assert pair.copy().copied.files == 1
    assert pair.has()


def test_what_the_disk_did_not_take_is_not_trusted(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pair.places[1] != str(pair.target):
        pytest.skip("a server tells of each file whether it has it")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(local_files, "sync_file_system", fail)
        with pytest.raises(StorageError, match="nput/output error"):
            pair.copy()
    pair.lose()
    report = pair.copy()
    assert (report.copied.files, report.equal.files) == (1, 4)


def test_what_was_left_out_before_is_compared(pair: Pair) -> None:
    """A directory that the complete copy excluded is there in another state."""
    shutil.copytree(pair.source / "apart", pair.target / "apart")
    (pair.target / "apart/a").write_text("another")
    pair.copy(exclude=("apart",))
    report = pair.copy()
    assert (report.failed, report.copied.files, report.equal.files) == ({}, 1, 1)
    assert read_tree(pair.target) == read_tree(pair.source)


def test_a_part_is_trusted_by_a_copy_of_this_part(pair: Pair) -> None:
    for _ in range(2):
        assert not pair.copy(include=("touched", "apart")).failed
    pair.lose()
    assert not pair.copy(include=("apart", "touched")).changed
    assert pair.copy(include=("apart",)).copied.files == 1
    assert pair.copy().failed == {}
    assert read_tree(pair.target) == read_tree(pair.source)


def test_a_manifest_of_an_earlier_version_serves(pair: Pair) -> None:
    pair.copy()
    with sqlite3.connect(pair.manifest) as connection:
        connection.execute("DROP TABLE target")
        connection.execute("DELETE FROM about WHERE name = 'complete'")
    pair.lose()
    assert pair.copy().copied.files == 1
    pair.lose()
    assert not pair.copy().changed


def test_a_manifest_of_another_copy_stays_refused(pair: Pair, tmp_path: Path) -> None:
    pair.copy()
    with pytest.raises(ManifestError, match="belongs to a copy"):
        copy(pair.places[0], str(tmp_path / "elsewhere"), manifest=pair.manifest, trust_target=True)


def test_a_single_file_is_looked_at_each_time(pair: Pair) -> None:
    places = f"{pair.places[0]}/touched/a", f"{pair.places[1]}/copy"
    for copied in (1, 0):
        assert copy(*places, manifest=pair.manifest, trust_target=True).copied.files == copied
    (pair.target / "copy").unlink()
    assert copy(*places, manifest=pair.manifest, trust_target=True).copied.files == 1
