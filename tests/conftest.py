"""Fixtures for every test of the project."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.container import ContainerServer, DropbearContainer, OpensshContainer, ProftpdContainer
from tests.support.sshd import SshServer

_KINDS: dict[str, type[ContainerServer]] = {
    "openssh": OpensshContainer,
    "proftpd": ProftpdContainer,
    "dropbear": DropbearContainer,
}


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
