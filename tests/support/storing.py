"""What tests of the data plane share: settings for a server, contents, waiting."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_sftp.settings import Settings
from tests.support.link import Link
from tests.support.server import SftpServer


def settings_for(server: SftpServer, **changes: Any) -> Settings:
    return Settings(ssh_config=server.ssh_config, **{"retry_timeout": 20.0, "stall_timeout": 10.0, **changes})


def use(server: SftpServer, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Point MLFLOW_SFTP_* at a server."""
    for name, value in {"ssh_config": server.ssh_config, "retry_timeout": 20, **changes}.items():
        monkeypatch.setenv(f"MLFLOW_SFTP_{name.upper()}", str(value))


def repository_for(uri: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri)


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes that differ from block to block, so that a misplaced block shows."""
    block = b"".join((seed * 1_000_003 + index).to_bytes(8) for index in range(size // 8 + 1))
    return block[:size]


def files_below(directory: Path) -> dict[str, bytes | None]:
    """Relative path to contents, None for directories."""
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something to become true; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def through(sshd: SftpServer, link: Link, directory: Path, **changes: Any) -> tuple[str, Settings]:
    """Return the server's URI and settings that go through a link."""
    known_hosts, config = directory / "link_known_hosts", directory / "link_config"
    known_hosts.write_text(sshd.known_hosts.read_text().replace(f":{sshd.port} ", f":{link.port} "))
    text = sshd.ssh_config.read_text().replace(f"Port {sshd.port}", f"Port {link.port}")
    config.write_text(text.replace(str(sshd.known_hosts), str(known_hosts)))
    uri = sshd.uri().replace(f":{sshd.port}/", f":{link.port}/")
    return uri, Settings(ssh_config=config, **{"retry_timeout": 20.0, "stall_timeout": 10.0, **changes})
