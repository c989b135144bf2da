import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest

from mlflow_sftp.transfer import directories, local_files, temporary_names


@pytest.mark.parametrize(("offset", "size"), [(0, 10), (5, 5), (5, 100), (10, 5), (0, 0)])
def test_read_block(tmp_path: Path, offset: int, size: int) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    descriptor = os.open(tmp_path / "f", os.O_RDONLY)
    try:
        data = bytes(asyncio.run(local_files.read_block(descriptor, offset, size)))
    finally:
        os.close(descriptor)
    assert data == b"0123456789"[offset : offset + size]


def test_walk_shows_directories_before_their_contents(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "f").touch()
    (tmp_path / "g").touch()
    seen: set[str] = set()
    for item in local_files.walk(str(tmp_path)):
        parent = os.path.dirname(item.relative)
        assert not parent or parent in seen
        seen.add(item.relative)
        assert item.is_directory == os.path.isdir(item.path)
    assert seen == {"a", "a/b", "a/f", "g"}


def test_walk_tells_what_cannot_be_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "up").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "self").symlink_to("self")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / temporary_names.temporary()).touch()
    unreadable: dict[str, str] = {}
    assert [item.relative for item in local_files.walk(str(tmp_path), unreadable.__setitem__)] == ["d"]
    assert unreadable == {
        "d/up": "leads back to a directory above it",
        "dangling": "leads nowhere",
        "pipe": "is neither a file nor a directory",
        "self": f"cannot be looked at: {os.strerror(errno.ELOOP)}",
    }


def test_walk_warns_where_nobody_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "dangling").symlink_to("nothing")
    assert list(local_files.walk(str(tmp_path))) == []
    assert f"{tmp_path}/dangling leads nowhere" in caplog.text


@pytest.mark.parametrize("size", [0, 10, 1 << 18, 700_001])
def test_digest_of_a_file_and_of_its_beginning(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert local_files.digest(str(tmp_path / "f")) == (size, hashlib.sha256(data).hexdigest())
    with (tmp_path / "f").open("rb", buffering=0) as file:
        file.seek(size // 2)
        part = hashlib.sha256(data[: size // 3]).hexdigest()
        assert local_files.digest(file.fileno(), size // 3) == (size // 3, part)
        assert file.tell() == size // 2


def test_directories_are_removed_from_the_bottom() -> None:
    groups = directories.deepest_first(["/a", "/a/b/c", "/a/b", "/d/e"])
    assert [sorted(group) for group in groups] == [["/a/b/c"], ["/a/b", "/d/e"], ["/a"]]


def test_temporary_names_are_recognised_and_differ() -> None:
    assert temporary_names.temporary() != temporary_names.temporary()
    assert temporary_names.is_temporary(temporary_names.temporary().encode())
    assert temporary_names.is_temporary(temporary_names.resumable("a", 1).encode())
    assert (
        temporary_names.resumable("a", 1)
        == temporary_names.resumable("a", 1)
        != temporary_names.resumable("a", 2)
    )
    for other in (b"model.part", b".mlflow-sftp-notes", b".mlflow-sftp-0123456789abcdef.part2"):
        assert not temporary_names.is_temporary(other)
