"""Servers that say in their own way that there is nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.wire.packets import FX_FAILURE, FX_NO_SUCH_FILE, FX_PERMISSION_DENIED
from mlflow_sftp.wire.statuses import standard_code
from tests.faults.conftest import defective
from tests.support.sshd import SshServer
from tests.support.storing import files_below, settings_for


@pytest.fixture(params=["missing-10", "missing-4", "missing-3", "missing-words"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SshServer]:
    with SshServer(tmp_path / "server", shell=True, config=defective(request.param)) as running:
        yield running


def test_what_is_not_there_is_not_there(server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    storage = SftpStorage(server.uri("new"), settings_for(server, retry_timeout=2.0))
    assert storage.stat("f") is None
    assert storage.list_directory() is None
    assert storage.list_directory("a/b") is None
    assert storage.remove("f") is False
    storage.upload(str(tmp_path / "f"), "a/b/f")
    (server.root / "new/a/b/f").unlink()
    (server.root / "new/a/b").rmdir()
    storage.upload(str(tmp_path / "f"), "a/b/g")
    assert files_below(server.root / "new")["a/b/g"] == b"abc"
    assert storage.stat("a/b/f") is None
    assert storage.remove() is True
    assert not (server.root / "new").exists()


@pytest.mark.parametrize(
    ("code", "words", "meant"),
    [
        (10, "no such path", FX_NO_SUCH_FILE),
        (4, "open /x: no such file or directory", FX_NO_SUCH_FILE),
        (4, "object not found", FX_NO_SUCH_FILE),
        (4, "The system cannot find the path specified.", FX_NO_SUCH_FILE),
        (4, "Failure", FX_FAILURE),
        (4, "couldn't connect: host not found", FX_FAILURE),
        (4, "user does not exist", FX_FAILURE),
        (4, "Access is denied.", FX_PERMISSION_DENIED),
        (12, "write protected", FX_PERMISSION_DENIED),
        (11, "File already exists", FX_FAILURE),
        (14, "no space left", FX_FAILURE),
        (3, "no such file", FX_PERMISSION_DENIED),
        (5, "bad message", 5),
        (8, "unsupported", 8),
    ],
)
def test_statuses_mean_those_of_version_3(code: int, words: str, meant: int) -> None:
    assert standard_code(code, words) == meant
