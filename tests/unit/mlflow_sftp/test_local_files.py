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


@pytest.mark.parametrize("size", [0, 10, 100_001])
def test_a_write_that_is_cut_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[: len(data) // 2 + 1], at))
    data = os.urandom(size)
    with (tmp_path / "f").open("wb", buffering=0) as file:
        local_files.write_all(file.fileno(), data[:5])
        local_files.write_all(file.fileno(), data[5:], 5)
    assert (tmp_path / "f").read_bytes() == data


def test_a_write_that_takes_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with (tmp_path / "f").open("wb", buffering=0) as file, pytest.raises(OSError, match="no more bytes"):
        local_files.write_all(file.fileno(), b"x")


def test_a_file_that_lacks_bytes_does_not_take_its_name(tmp_path: Path) -> None:
    temporary, target = tmp_path / "temporary", tmp_path / "target"
    for has, expected in ((b"whole", b"whole"), (b"cut", b"whole")):
        temporary.write_bytes(has)
        descriptor = os.open(temporary, os.O_RDWR)
        if has == expected:
            local_files.close_and_rename(descriptor, str(temporary), str(target), 5)
        else:
            with pytest.raises(OSError, match="5 bytes were written and the file has 3"):
                local_files.close_and_rename(descriptor, str(temporary), str(target), 5)
        with pytest.raises(OSError, match="descriptor"):
            os.close(descriptor)
    assert target.read_bytes() == b"whole"


def test_an_error_that_comes_at_close_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network file systems report a disk that was full."""
    temporary, target = tmp_path / "temporary", tmp_path / "target"
    target.write_bytes(b"old")
    temporary.write_bytes(b"new")
    descriptor, close = os.open(temporary, os.O_RDWR), os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fail)
        with pytest.raises(OSError, match="quota"):
            local_files.close_and_rename(descriptor, str(temporary), str(target), 3)
    assert target.read_bytes() == b"old"


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
