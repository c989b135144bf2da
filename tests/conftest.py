"""Fixtures for every test of the project."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.container import ContainerServer, DropbearContainer, OpensshContainer, ProftpdContainer
from tests.support.servers import SERVERS
from tests.support.sshd import SshServer

_KINDS: dict[str, type[ContainerServer]] = {
    "openssh": OpensshContainer,
    "proftpd": ProftpdContainer,
    "dropbear": DropbearContainer,
}
_TESTS = Path(__file__).parent
# Parameters that stand for a server or a database that is not this machine's own.
_FURTHER = {*_KINDS, *_KINDS.values(), *SERVERS, "openssh-10", "postgresql", "proxied"} - {"openssh-internal"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        quick = item.path.is_relative_to(_TESTS / "unit") or item.path.is_relative_to(_TESTS / "lint")
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and not quick:
            values = item.callspec.params.values()
            if any(isinstance(value, str | type) and value in _FURTHER for value in values):
                item.add_marker(pytest.mark.full)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    """A running OpenSSH server for one test; see tests/support/sshd.py."""
    with SshServer(tmp_path / "server") as server:
        yield server


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ContainerServer]]:
    """Each kind of server in a container, started when first asked for; a test takes a `room()` of it."""
    with ExitStack() as running:

        @functools.cache
        def start(kind: str) -> ContainerServer:
            return running.enter_context(_KINDS[kind](tmp_path_factory.mktemp(kind) / "server"))

        yield start
