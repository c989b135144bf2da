import asyncio
import os
from pathlib import Path

import pytest

from mlflow_sftp.transfer import local_files, temporary_names


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
