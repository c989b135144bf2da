"""SFTP accounts on three kinds of servers, with options to log in."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.ansible import run_module
from tests.support.container import ContainerServer
from tests.support.server import SftpServer


def account(server: SftpServer) -> dict[str, Any]:
    """Options with which every sftp_* module logs in."""
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "private_key_file": str(server.client_key),
        "known_hosts_file": str(server.known_hosts),
    }


def run(module: str, options: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Run a module that logs in and return its result."""
    return run_module(module, options, check=check).result


@pytest.fixture(params=["openssh", "proftpd", "dropbear"])
def server(request: pytest.FixtureRequest, containers: Callable[[str], ContainerServer]) -> ContainerServer:
    """An empty directory on each kind of server in turn."""
    return containers(request.param).room()
