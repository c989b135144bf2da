"""Servers and stores for the data plane's tests: this machine's OpenSSH, OpenSSH 10 and ProFTPD."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from tests.support.container import ContainerServer
from tests.support.server import SftpServer
from tests.support.sshd import SshServer
from tests.support.storing import pattern, repository_for, settings_for, use

_numbers = itertools.count()

_KINDS = ("host", "openssh", "proftpd")

# For tests that take long and in which OpenSSH 10 does nothing that older ones do not.
host_and_proftpd = pytest.mark.parametrize("mortal", ["host", "proftpd"], indirect=True)


@pytest.fixture(scope="session", params=_KINDS)
def server(
    request: pytest.FixtureRequest,
    containers: Callable[[str], ContainerServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SftpServer]:
    """A server shared by all tests that do not hurt it."""
    if request.param == "host":
        with SshServer(tmp_path_factory.mktemp("sshd") / "server") as running:
            yield running
    else:
        yield containers(request.param)


@pytest.fixture(params=_KINDS)
def mortal(
    request: pytest.FixtureRequest, containers: Callable[[str], ContainerServer]
) -> Iterator[SftpServer]:
    """A server with an empty root, which one test may kill and restart."""
    if request.param == "host":
        yield request.getfixturevalue("sshd")
        return
    room = containers(request.param).room()
    yield room
    room.start()


@pytest.fixture
def settings(server: SftpServer) -> Settings:
    """Settings that find the server's key and give up soon."""
    return settings_for(server)


@pytest.fixture
def root(server: SftpServer) -> Path:
    """An empty directory on the server, of this test alone."""
    directory = server.root / f"test-{next(_numbers)}"
    directory.mkdir()
    return directory


@pytest.fixture
def storage(server: SftpServer, root: Path, settings: Settings) -> SftpStorage:
    """A store below `root`."""
    return SftpStorage(server.uri(root), settings)


@pytest.fixture
def repository(server: SftpServer, root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
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
