"""What the fault suite shares: servers that misbehave on purpose, and the check that names the cause."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import Outcome, run_module
from tests.support.server import SftpServer
from tests.support.sshd import SshServer

_SECRETS = ("PRIVATE KEY-----", "b3BlbnNzaC1rZXkt", "correct horse", "hunter2")

SFTP_SERVER = "/usr/lib/openssh/sftp-server"

Diagnose = Callable[..., dict[str, Any]]


def assert_no_secret(outcome: Outcome) -> None:
    """Nothing printed may hold a key, a passphrase or a password."""
    for secret in _SECRETS:
        assert secret not in outcome.output


@pytest.fixture
def diagnose() -> Diagnose:
    """Run sftp_check and return the failed stage, having checked cause, remedy, silence and time."""

    def run(
        options: dict[str, Any],
        cause: str,
        *,
        remedy: str,
        limit: float = 8.0,
        python: str = sys.executable,
    ) -> dict[str, Any]:
        start = time.monotonic()
        outcome = run_module("sftp_check", {"connect_timeout": 2, **options}, python=python)
        seconds = time.monotonic() - start
        assert_no_secret(outcome)
        stages = outcome.result["stages"]
        found = [stage for stage in stages if stage["cause"]]
        assert [stage["cause"] for stage in found] == [cause], outcome.output
        assert remedy in found[0]["remedy"]
        assert "<" not in found[0]["remedy"]
        if found[0]["status"] == "failed":
            assert outcome.failed
            assert outcome.result["cause"] == cause
            assert outcome.result["msg"].count(found[0]["detail"]) == 1
        assert seconds < limit
        return dict(found[0])

    return run


def options(server: SftpServer, **changed: Any) -> dict[str, Any]:
    """Options with which the check of a server's root succeeds, but for what is changed."""
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "private_key_file": str(server.client_key),
        "known_hosts_file": str(server.known_hosts),
        "path": str(server.root),
        **changed,
    }


def defective(defect: str) -> str:
    """Configuration of a server with a defect, see defective_sftp_server.py."""
    program = Path(__file__).with_name("defective_sftp_server.py")
    return f"ForceCommand {sys.executable} {program} {defect} {SFTP_SERVER}"


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users may enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def limited(open_directory: Path) -> Iterator[SshServer]:
    """A server whose user is not root, so that file modes count."""
    with SshServer(open_directory / "server", run_as="nobody") as server:
        yield server


@pytest.fixture
def misbehaving(tmp_path: Path) -> Iterator[Callable[[str], SshServer]]:
    """Start a server with extra configuration."""
    servers: list[SshServer] = []

    def start(config: str) -> SshServer:
        server = SshServer(tmp_path / f"server{len(servers)}", config=config)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
