"""Local files that change while they are uploaded: one state of them arrives, or an error says that none did."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_sftp.errors import IntegrityError
from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.transfer import local_files
from tests.support.sshd import SshServer
from tests.support.storing import pattern, settings_for

_SIZES = [100_000, 3 << 20]


@pytest.fixture
def store(sshd: SshServer) -> SftpStorage:
    return SftpStorage(sshd.uri(), settings_for(sshd))


@pytest.fixture
def changing(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree" / "changing"


def change_while_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], times: int) -> None:
    """Call `change` each time that the first block of a file was read, `times` times at most."""
    left, read = [change] * times, local_files.read_block

    async def read_block(descriptor: int, offset: int, size: int) -> bytes | memoryview:
        data = bytes(await read(descriptor, offset, size))
        if not offset and left:
            left.pop()()
        return data

    monkeypatch.setattr(local_files, "read_block", read_block)


def rewrite_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(1000))


def append_a_line(path: Path) -> None:
    with path.open("ab") as log:
        log.write(b"one more line\n")


def rewrite_longer(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size + 1))


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("rewrite", [rewrite_the_middle, rewrite_longer])
def test_a_file_that_is_rewritten_again_and_again_is_an_error(
    size: int,
    rewrite: Callable[[Path], None],
    changing: Path,
    store: SftpStorage,
    sshd: SshServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes before the middle are read before the change, so what was sent is no state of the file."""
    changing.write_bytes(pattern(size))
    (sshd.root / "f").write_bytes(b"old")
    change_while_read(monkeypatch, lambda: rewrite(changing), 10)
    with pytest.raises(IntegrityError):
        store.upload(str(changing), "f")
    if rewrite is rewrite_the_middle:
        assert (sshd.root / "f").read_bytes() == b"old"


@pytest.mark.parametrize("size", _SIZES)
def test_a_file_that_is_rewritten_once_arrives_as_it_is_then(
    size: int, changing: Path, store: SftpStorage, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing.write_bytes(pattern(size))
    change_while_read(monkeypatch, lambda: rewrite_the_middle(changing), 1)
    store.upload(str(changing), "f")
    assert changing.read_bytes() != pattern(size)
    assert (sshd.root / "f").read_bytes() == changing.read_bytes()


@pytest.mark.parametrize("size", _SIZES)
def test_of_a_log_that_grows_in_a_tree_what_was_there_arrives(
    size: int, changing: Path, store: SftpStorage, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing.write_bytes(pattern(size))
    (changing.parent / "other").write_bytes(b"x")
    change_while_read(monkeypatch, lambda: append_a_line(changing), 10)
    before = changing.stat().st_size
    store.upload_tree(str(changing.parent), "t")
    arrived = (sshd.root / "t/changing").read_bytes()
    assert len(arrived) >= before
    assert changing.read_bytes().startswith(arrived)
    assert (sshd.root / "t/other").read_bytes() == b"x"
