"""SFTP accounts on three kinds of servers, with options to log in."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support import dropbear, proftpd
from tests.support.sshd import SshServer


class Server(Protocol):
    """What the tests need of a server."""

    host: str
    port: int
    user: str
    root: Path
    client_key: Path
    known_hosts: Path


def account(server: Server) -> dict[str, Any]:
    """Options with which every sftp_* module logs in."""
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "private_key_file": str(server.client_key),
        "known_hosts_file": str(server.known_hosts),
    }


@pytest.fixture(params=["openssh", "proftpd", "dropbear"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Each kind of server in turn."""
    if request.param == "openssh":
        with SshServer(tmp_path / "server") as running:
            yield running
    elif request.param == "proftpd":
        if not proftpd.installed():
            pytest.skip("proftpd is not installed")
        with proftpd.ProftpdServer(tmp_path / "server") as running:
            yield running
    else:
        if os.getuid() != 0 or not dropbear.installed():
            pytest.skip("needs dropbear and root")
        with dropbear.DropbearServer(tmp_path / "server") as running:
            yield running
