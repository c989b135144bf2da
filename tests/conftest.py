"""Fixtures for every test of the project."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import SshServer


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    """A running OpenSSH server for one test; see tests/support/sshd.py."""
    with SshServer(tmp_path / "server") as server:
        yield server
