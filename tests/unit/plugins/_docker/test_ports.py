"""Who holds a port is told from the kernel's own tables."""

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ports import holder, is_taken

FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


@pytest.mark.parametrize("address", FAMILIES)
def test_a_port_that_is_taken_has_a_holder(address: str) -> None:
    with socket.create_server((address, 0), family=FAMILIES[address]) as server:
        port = server.getsockname()[1]
        assert is_taken(address, port)
        name = Path("/proc/self/comm").read_text().strip()
        assert holder(port) == f"{name}, process {os.getpid()}"
    assert not is_taken(address, port)
    assert holder(port) == ""


def test_a_connection_is_no_holder() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert holder(client.getsockname()[1]) == ""


def test_what_may_not_be_seen_is_told_of_nobody(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    assert holder(1, tmp_path) == ""
    line = "   0: 0100007F:0001 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1"
    (tmp_path / "net/tcp").write_text(f"  sl  local_address\n{line}\n")
    (tmp_path / "12").mkdir()
    assert holder(1, tmp_path) == ""
