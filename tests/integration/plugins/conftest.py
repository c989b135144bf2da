"""SFTP accounts on three kinds of servers, with options to log in."""

import contextlib
import importlib
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils import basic

from tests.support.ansible import COLLECTION
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
    """Run a module in this process, which spares the start of an interpreter, and return its result."""
    program = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{module}")
    arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}}
    basic._ANSIBLE_ARGS = json.dumps(arguments).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    with contextlib.redirect_stdout(io.StringIO()) as output, pytest.raises(SystemExit):
        program.main()
    result: dict[str, Any] = json.loads(output.getvalue().splitlines()[-1])
    return result


@pytest.fixture(params=["openssh", "proftpd", "dropbear"])
def server(request: pytest.FixtureRequest, containers: Callable[[str], ContainerServer]) -> ContainerServer:
    """An empty directory on each kind of server in turn."""
    return containers(request.param).room()
