"""Nothing is left out silently: what clashes, what is one name at the target, what the target lost."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp import stores
from mlflow_sftp.errors import IntegrityError, StorageError
from mlflow_sftp.operations import name_folding
from mlflow_sftp.operations.copy import Progress, Verify, copy
from mlflow_sftp.operations.manifest import read_manifest
from mlflow_sftp.operations.store_inventory import store_info
from mlflow_sftp.stores.local import LocalStore
from mlflow_sftp.transfer import local_files
from mlflow_sftp.transfer.remote import Remote
from tests.faults.conftest import defective
from tests.integration.operations.test_copy import Spell, read_tree, settle, without_unfinished
from tests.support.sshd import SshServer

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


@pytest.fixture(autouse=True)
def client(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
    monkeypatch.setenv("MLFLOW_SFTP_RETRY_TIMEOUT", "5")


@pytest.fixture(params=["local-local", "local-sftp", "sftp-local"])
def ways(request: pytest.FixtureRequest, sshd: SshServer) -> tuple[Spell, Spell]:
    spell: dict[str, Spell] = {"local": str, "sftp": sshd.uri}
    one, other = request.param.split("-")
    return spell[one], spell[other]


@pytest.fixture
def places(sshd: SshServer) -> tuple[Path, Path]:
    source, target = sshd.root / "source", sshd.root / "target"
    (source / "x").mkdir(parents=True)
    target.mkdir()
    for name in ("a", "x/b", "z"):
        (source / name).write_text(name)
    return source, target


def directory_for_a_file(source: Path, target: Path) -> None:
    (source / "f").write_text("f")
    (target / "f" / "deep").mkdir(parents=True)


def file_for_a_directory(source: Path, target: Path) -> None:
    (source / "d" / "e").mkdir(parents=True)
    (source / "d" / "e" / "f").write_text("f")
    (target / "d").write_text("in the way")


def directory_that_takes_no_files(source: Path, target: Path) -> None:
    (source / "ro").mkdir()
    (source / "ro" / "f").write_text("f")
    (target / "ro").mkdir()
    if subprocess.run(["chattr", "+i", target / "ro"], capture_output=True).returncode:
        pytest.skip("needs root and a file system with attributes")


@pytest.mark.parametrize(
    ("clash", "failed"),
    [
        (directory_for_a_file, "f"),
        (file_for_a_directory, "d"),
        (directory_that_takes_no_files, "ro/f"),
    ],
)
def test_one_clash_is_reported_and_the_rest_is_copied(
    clash: Callable[[Path, Path], None],
    failed: str,
    ways: tuple[Spell, Spell],
    places: tuple[Path, Path],
) -> None:
    source, target = places
    clash(source, target)
    try:
        report = copy(ways[0](source), ways[1](target))
    finally:
        subprocess.run(["chattr", "-i", target / "ro"], capture_output=True)
    assert list(report.failed) == [failed]
    assert {name: (target / name).read_text() for name in ("a", "x/b", "z")} == {
        n: n for n in ("a", "x/b", "z")
    }
    assert (report.total.files, report.copied.files) == (4, 3)


def test_a_clash_is_foreseen(places: tuple[Path, Path], sshd: SshServer) -> None:
    source, target = places
    file_for_a_directory(source, target)
    assert list(copy(str(source), sshd.uri(target), check=True).failed) == ["d"]


def test_what_the_target_lost_meanwhile_is_reported(
    ways: tuple[Spell, Spell], places: tuple[Path, Path]
) -> None:
    """As if its disk, or somebody else, had taken it away after it was compared."""
    source, target = places
    (source / "x" / "empty").mkdir()

    def lose(progress: Progress) -> None:
        if progress.files == 3:
            (target / "a").unlink()
            os.truncate(target / "z", 0)
            (target / "x" / "empty").rmdir()

    report = copy(ways[0](source), ways[1](target), on_progress=lose)
    assert set(report.failed) == {"a", "z", "x/empty"}


SPELLINGS = {"case": ("Model", "model"), "form": (COMPOSED, DECOMPOSED)}


@pytest.fixture(params=["case", "form"])
def folding(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SshServer, str, str]]:
    """A server that takes two spellings for one name, and these."""
    with SshServer(tmp_path / "folding", config=defective(request.param)) as server:
        monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(server.ssh_config))
        yield server, *SPELLINGS[request.param]


Folding = tuple[SshServer, str, str]


def test_files_whose_names_are_one_at_the_target_are_refused(folding: Folding, tmp_path: Path) -> None:
    server, one, other = folding
    source = tmp_path / "source"
    (source / one).mkdir(parents=True)
    (source / other).mkdir()
    for name in (f"{one}/in one", f"{other}/in other", f"{one} file", f"{other} file", "plain"):
        (source / name).write_text(name.ljust(30))
    report = copy(str(source), server.uri("t"))
    assert set(report.failed) == {one, other, f"{one} file", f"{other} file"}
    assert read_tree(server.root / "t") == {b"plain": b"plain".ljust(30)}


def test_names_that_turn_out_to_be_one_in_the_end_are_reported(
    folding: Folding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where only a part of the target folds names, which the trial in its root does not show."""

    async def find_nothing(store: object) -> name_folding.Folding:
        return name_folding.NONE

    monkeypatch.setattr(name_folding, "find_out", find_nothing)
    server, one, other = folding
    source = tmp_path / "source"
    source.mkdir()
    for name in (one, other, "plain"):
        (source / name).write_text(name.ljust(30))
    report = copy(str(source), server.uri("t"), manifest=tmp_path / "m")
    assert {one, other} & set(report.failed)
    done = {record.path for record in read_manifest(tmp_path / "m") if record.state == "done"}
    assert "plain" in done
    assert {one, other} - done
    for name in done:
        assert (server.root / "t" / name).read_text() == name.ljust(30)


def test_directories_that_turn_out_to_be_one_at_a_trusted_target_are_reported(
    folding: Folding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each can be listed by its name; that the one above lists one of them only tells."""

    async def find_nothing(store: object) -> name_folding.Folding:
        return name_folding.NONE

    monkeypatch.setattr(name_folding, "find_out", find_nothing)
    server, one, other = folding
    source = tmp_path / "source"
    (source / "plain").mkdir(parents=True)
    options: dict[str, Any] = {"manifest": tmp_path / "m", "trust_target": True}
    assert copy(str(source), server.uri("t"), **options).failed == {}
    for name in (one, other):
        (source / "plain" / name).mkdir()
        (source / "plain" / name / "file").write_text(name.ljust(30))
    report = copy(str(source), server.uri("t"), **options)
    assert {f"plain/{one}", f"plain/{other}"} & set(report.failed)


def test_a_file_of_the_target_whose_name_is_the_same_is_not_replaced(
    folding: Folding, tmp_path: Path
) -> None:
    server, one, other = folding
    source, target = tmp_path / "source", server.root / "t"
    source.mkdir()
    target.mkdir()
    # The one that the server keeps.
    (target / other).write_text("of somebody else")
    (source / one).write_text("new")
    report = copy(str(source), server.uri("t"))
    assert list(report.failed) == [one]
    assert read_tree(target) == {os.fsencode(other): b"of somebody else"}


@pytest.mark.parametrize("trust_target", [False, True])
def test_a_name_that_the_target_only_spells_in_another_way_is_copied_once(
    trust_target: bool, folding: Folding, tmp_path: Path
) -> None:
    server, one, _ = folding
    options: dict[str, Any] = {"manifest": tmp_path / "m", "trust_target": trust_target}
    source = tmp_path / "source"
    (source / one).mkdir(parents=True)
    (source / one / one).write_text("text")
    settle(source)
    for copied in (1, 0):
        report = copy(str(source), server.uri("t"), **options)
        assert report.failed == {}
        assert report.copied.files == copied
    (source / one / one).write_text("changed")
    report = copy(str(source), server.uri("t"), **options)
    assert (report.failed, report.copied.files) == ({}, 1)
    assert list(read_tree(server.root / "t").values()) == [None, b"changed"]
    (source / f"{one} too").write_text("new")
    for copied in (1, 0):
        settle(source)
        report = copy(str(source), server.uri("t"), **options)
        assert (report.failed, report.copied.files) == ({}, copied)


@pytest.mark.parametrize("verify", ["sha256", "size"])
@pytest.mark.parametrize("way", ["local-local", "local-sftp", "sftp-local"])
def test_of_a_log_that_grows_all_the_time_a_beginning_is_copied(
    verify: Verify, way: str, sshd: SshServer, places: tuple[Path, Path]
) -> None:
    source, target = places
    log = source / "log"
    log.write_bytes(os.urandom(3 << 20))
    spell: dict[str, Spell] = {"local": str, "sftp": sshd.uri}
    one, other = way.split("-")
    stop = threading.Event()

    def append() -> None:
        while not stop.wait(0.001):
            with log.open("ab") as file:
                file.write(b"one more line\n")

    writer = threading.Thread(target=append)
    writer.start()
    try:
        report = copy(spell[one](source), spell[other](target), verify=verify)
    finally:
        stop.set()
        writer.join()
    assert report.failed == {}
    arrived = (target / "log").read_bytes()
    assert len(arrived) >= 3 << 20
    assert log.read_bytes().startswith(arrived)


@pytest.mark.parametrize("way", ["local-local", "local-sftp"])
def test_a_file_that_is_rewritten_all_the_time_is_reported(
    way: str, sshd: SshServer, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes alone do not show it."""
    source, target = places
    file = source / "rewritten"
    file.write_bytes(os.urandom(3 << 20))
    has_grown = local_files.has_grown

    def rewrite_and_look(descriptor: int, opened: os.stat_result) -> bool:
        if opened.st_size == 3 << 20:
            file.write_bytes(os.urandom(3 << 20))
        return has_grown(descriptor, opened)

    monkeypatch.setattr(local_files, "has_grown", rewrite_and_look)
    spell: dict[str, Spell] = {"local": str, "sftp": sshd.uri}
    one, other = way.split("-")
    report = copy(spell[one](source), spell[other](target), verify="size")
    assert list(report.failed) == ["rewritten"]
    assert set(without_unfinished(read_tree(target))) == {b"a", b"x", b"x/b", b"z"}


def test_a_file_that_changes_while_it_is_compared_ends_nothing_but_its_own_copy(
    sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", sshd.root / "target"
    for directory in (source, target):
        directory.mkdir()
        (directory / "a").write_bytes(bytes(1000))
    (source / "b").write_bytes(b"b")
    read = stores.sftp.get_bytes

    async def get_bytes(remote: Remote, path: str, size: int) -> bytes:
        if path.endswith("/a"):
            raise IntegrityError(
                f"download {path}", remote.name, "it changed while it was read", "Try again."
            )
        return await read(remote, path, size)

    monkeypatch.setattr(stores.sftp, "get_bytes", get_bytes)
    report = copy(str(source), sshd.uri(target), verify="sha256")
    assert list(report.failed) == ["a"]
    assert (target / "b").read_bytes() == b"b"


def test_a_file_as_young_as_its_listing_is_compared_again(sshd: SshServer, tmp_path: Path) -> None:
    """A server's times are whole seconds: a second change in one second leaves size and time as they were."""
    source, target = sshd.root / "source", tmp_path / "target"
    source.mkdir()
    old, young = source / "old", source / "young"
    for file in (old, young):
        file.write_text("first")
    os.utime(old, (1_000_000_000,) * 2)
    copy(sshd.uri(source), str(target), manifest=tmp_path / "m")
    status = young.stat()
    young.write_text("later")
    os.utime(young, (status.st_mtime,) * 2)
    report = copy(sshd.uri(source), str(target), manifest=tmp_path / "m")
    assert (report.copied.files, report.equal.files) == (1, 0)
    assert (target / "young").read_text() == "later"


def test_the_first_of_several_failures_is_told(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do connections stay open because closing the other side failed."""
    source, target = places
    closed = []

    async def fail(store: LocalStore) -> None:
        closed.append(store.root)
        raise StorageError("a later failure")

    def disconnect(*_: object) -> None:
        raise StorageError("the first failure")

    monkeypatch.setattr(LocalStore, "close", fail)
    with pytest.raises(StorageError, match="the first failure"):
        copy(str(source), str(target), on_progress=disconnect)
    assert closed == [str(source), str(target)]


def test_what_the_disk_did_not_take_is_an_error_and_compared_again(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells late, when it is asked to write everything, what became of writes that it took."""
    source, target = places
    time.sleep(0.05)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(local_files, "sync_file_system", fail)
        with pytest.raises(StorageError, match="nput/output error"):
            copy(str(source), str(target), manifest=tmp_path / "m")
    report = copy(str(source), str(target), manifest=tmp_path / "m")
    assert (report.copied.files, report.equal.files) == (0, 3)


def test_what_a_server_s_listing_leaves_out_is_reported(sshd: SshServer, tmp_path: Path) -> None:
    """An experiment whose directory was moved to a larger disk and linked, above all."""
    source, elsewhere = sshd.root / "mlruns", sshd.root / "large disk" / "1"
    elsewhere.mkdir(parents=True)
    (elsewhere / "model").write_text("m")
    (source / "2").mkdir(parents=True)
    (source / "2" / "f").write_text("two")
    (source / "1").symlink_to(elsewhere)
    (source / "2" / "dangling").symlink_to("nowhere")
    (source / "2" / "up").symlink_to("..")
    os.mkfifo(source / "2" / "pipe")
    program = Path(sys.executable).with_name("mlflow-sftp")
    command = [program, "copy", "--json", sshd.uri(source), str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert set(json.loads(done.stdout)["failed"]) == {"1", "2/dangling", "2/up", "2/pipe"}
    assert read_tree(tmp_path / "copy") == {b"2": None, b"2/f": b"two"}
    assert set(store_info(sshd.uri(source))["unreadable"]) == {"1", "2/dangling", "2/up", "2/pipe"}


def test_a_directory_named_to_copy_that_leads_out_is_reported(sshd: SshServer, tmp_path: Path) -> None:
    source = sshd.root / "mlruns"
    (source / "2").mkdir(parents=True)
    (source / "2" / "f").write_text("two")
    (source / "1").symlink_to(sshd.root)
    report = copy(sshd.uri(source), str(tmp_path / "copy"), include=("1", "2"))
    assert list(report.failed) == ["1"]
    assert report.copied.files == 1
