"""What is stored is what was sent, whole or not at all, and leftovers of dead uploads do not show."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.errors import IntegrityError
from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.transfer import checksum, temporary_names
from mlflow_sftp.wire import server_traits
from mlflow_sftp.wire.session import SftpSession
from tests.support.container import ContainerServer
from tests.support.server import SftpServer
from tests.support.storing import files_below, pattern, settings_for


def test_sha256_is_that_of_the_bytes_on_the_server(storage: SftpStorage, root: Path) -> None:
    (root / "f").write_bytes(pattern(3_000_000))
    assert storage.sha256("f") == hashlib.sha256(pattern(3_000_000)).hexdigest()


@pytest.mark.parametrize("size", [0, 5000, 2_000_000])
def test_verified_transfers_work(server: SftpServer, root: Path, tmp_path: Path, size: int) -> None:
    storage = SftpStorage(server.uri(root), settings_for(server, verify="sha256"))
    (tmp_path / "f").write_bytes(pattern(size))
    storage.upload(str(tmp_path / "f"), "f")
    storage.download("f", str(tmp_path / "back"))
    with (tmp_path / "f").open("rb") as stream:
        storage.upload_stream(stream, "g")
    assert (
        (root / "f").read_bytes()
        == (root / "g").read_bytes()
        == (tmp_path / "back").read_bytes()
        == pattern(size)
    )


def test_a_root_that_is_a_file_is_compared_before_it_has_its_name(
    server: SftpServer, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(pattern(2_000_000))
    storage = SftpStorage(server.uri(root / "f"), settings_for(server, verify="sha256"))
    storage.upload(str(tmp_path / "f"), "")
    assert (root / "f").read_bytes() == pattern(2_000_000)


def _spoil_a_byte(path: Path, original: bytes) -> None:
    content = bytearray(original)
    content[len(original) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("size", [5000, 2_000_000])
def test_a_difference_on_the_server_is_an_error(
    server: SftpServer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A byte of the file on the server is another whenever it is looked at."""
    ask = checksum.sha256

    async def tamper_and_ask(remote: Any, path: str, *expected: Any, **more: Any) -> str:
        _spoil_a_byte(Path(path), pattern(size))
        return await ask(remote, path, *expected, **more)

    monkeypatch.setattr(checksum, "sha256", tamper_and_ask)
    storage = SftpStorage(server.uri(root), settings_for(server, verify="sha256"))
    (tmp_path / "f").write_bytes(pattern(size))
    with pytest.raises(IntegrityError, match="SHA-256"):
        storage.upload(str(tmp_path / "f"), "f")


def test_a_server_with_check_file_is_asked_for_the_sum(
    containers: Callable[[str], ContainerServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the file is read back")

    server = containers("proftpd").room()
    monkeypatch.setattr(SftpSession, "read", read)
    (server.root / "f").write_bytes(pattern(300_000))
    storage = SftpStorage(server.uri(), settings_for(server))
    assert storage.sha256("f") == hashlib.sha256(pattern(300_000)).hexdigest()


def test_an_empty_file_does_not_make_a_server_one_without_check_file(
    containers: Callable[[str], ContainerServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ProFTPD answers for an empty file as a server does that has no such extension."""
    monkeypatch.setattr(server_traits, "_known", {})
    server = containers("proftpd").room()
    (server.root / "empty").touch()
    (server.root / "f").write_bytes(pattern(300_000))
    storage = SftpStorage(server.uri(), settings_for(server, idle_timeout=299.0))
    assert storage.sha256("empty") == hashlib.sha256().hexdigest()

    def read(*_: object) -> None:
        raise AssertionError("the file is read back")

    monkeypatch.setattr(SftpSession, "read", read)
    assert storage.sha256("f") == hashlib.sha256(pattern(300_000)).hexdigest()


@pytest.mark.parametrize("mtime", [0, 1_500_000_000])
def test_leftovers_are_hidden_and_no_listing_removes_them(
    storage: SftpStorage, root: Path, mtime: float
) -> None:
    """One that looks as old as can be may be of an upload that goes on, on a server whose clock is wrong."""
    leftover = root / temporary_names.temporary()
    leftover.write_text("half")
    os.utime(leftover, (mtime,) * 2)
    (root / "f").touch()
    for _ in range(2):
        assert [entry.path for entry in storage.list_directory() or []] == ["f"]
        assert [entry.path for entry in storage.walk()] == ["f"]
    storage.stat("f")
    assert leftover.exists()
    storage.remove()
    assert not root.exists()


def test_a_reader_sees_the_old_file_or_the_new_one(storage: SftpStorage, root: Path, tmp_path: Path) -> None:
    contents = [pattern(400_000, seed) for seed in (1, 2)]
    for index, content in enumerate(contents):
        (tmp_path / str(index)).write_bytes(content)
    storage.upload(str(tmp_path / "0"), "f")
    stop = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(contents.index((root / "f").read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            for index in (1, 0):
                storage.upload(str(tmp_path / str(index)), "f")
    finally:
        stop.set()
        reader.join()
    assert seen <= {0, 1}
    assert files_below(root) == {"f": contents[0]}


def test_a_server_that_cannot_replace_atomically(
    server: SftpServer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without posix-rename, version 3 refuses to rename over a file."""
    monkeypatch.setattr(SftpSession, "replaces_atomically", property(lambda session: False))
    storage = SftpStorage(server.uri(root), settings_for(server))
    for content in (b"old", b"new"):
        (tmp_path / "f").write_bytes(content)
        storage.upload(str(tmp_path / "f"), "f")
    storage.stat("f")
    assert files_below(root) == {"f": b"new"}


def test_a_file_that_shrinks_while_it_is_read_is_an_error(
    storage: SftpStorage, root: Path, tmp_path: Path
) -> None:
    from mlflow_sftp.errors import LocalError

    path = tmp_path / "f"
    path.write_bytes(pattern(40_000_000))
    done = threading.Event()

    def report(count: int) -> None:
        if not done.is_set():
            done.set()
            os.truncate(path, 1000)

    with pytest.raises(LocalError, match="shorter"):
        storage.upload(str(path), "f", report)
    assert not (root / "f").exists()
