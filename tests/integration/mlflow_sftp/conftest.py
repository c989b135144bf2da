"""Servers and stores for the data plane's tests: each test on OpenSSH and, where it is installed, ProFTPD."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from tests.support import proftpd
from tests.support.proftpd import ProftpdServer
from tests.support.sshd import SshServer
from tests.support.storing import Server, pattern, repository_for, settings_for, use

_numbers = itertools.count()


@pytest.fixture(scope="session", params=["openssh", "proftpd"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server shared by all tests that do not hurt it."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "proftpd" and not proftpd.installed():
        pytest.skip("proftpd-core and proftpd-mod-crypto are not installed")
    kind = ProftpdServer if request.param == "proftpd" else SshServer
    with kind(directory / "server") as running:
        yield running


@pytest.fixture
def settings(server: Server) -> Settings:
    """Settings that find the server's key and give up soon."""
    return settings_for(server)


@pytest.fixture
def root(server: Server) -> Path:
    """An empty directory on the server, of this test alone."""
    directory = server.root / f"test-{next(_numbers)}"
    directory.mkdir()
    return directory


@pytest.fixture
def storage(server: Server, root: Path, settings: Settings) -> SftpStorage:
    """A store below `root`."""
    return SftpStorage(server.uri(root), settings)


@pytest.fixture
def repository(server: Server, root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's own choice of an artifact repository for `root`."""
    use(server, monkeypatch)
    return repository_for(server.uri(root))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A local directory with files of many sizes, two levels deep."""
    top = tmp_path / "tree"
    for index, size in enumerate((0, 1, 4096, 32768, 100_000, 300_000, 3 << 20)):
        directory = top / f"d{index % 3}" / "deeper"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file {index}.bin").write_bytes(pattern(size, index))
    (top / "empty").mkdir()
    return top
