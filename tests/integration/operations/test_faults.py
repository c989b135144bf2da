"""What stops a copy: a full target, a wrong host key. Nothing half-written is ever taken for a file."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_sftp.errors import HostKeyRejectedError, StorageError
from mlflow_sftp.operations.copy import copy
from mlflow_sftp.operations.manifest import read_manifest
from tests.support.server import keygen
from tests.support.sshd import SshServer


@pytest.fixture
def small_disk(sshd: SshServer) -> Iterator[Path]:
    """A file system of 4 MiB below the server's root."""
    mounted = sshd.root / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mounted)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system is not allowed here")
    yield mounted
    # A server that is about to end may still have a file of it open.
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


@pytest.fixture
def source(tmp_path: Path, sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_SFTP_SSH_CONFIG", str(sshd.ssh_config))
    monkeypatch.setenv("MLFLOW_SFTP_RETRY_TIMEOUT", "2")
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number:02}").write_bytes(os.urandom(500_000))
    return source


@pytest.mark.parametrize("way", ["local", "sftp"])
def test_a_full_target_stops_the_copy_which_goes_on_once_there_is_room(
    way: str, source: Path, small_disk: Path, sshd: SshServer, tmp_path: Path
) -> None:
    target = small_disk / "target"
    place = str(target) if way == "local" else sshd.uri(target)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    with pytest.raises(StorageError, match="space"):
        copy(str(source), place, manifest=tmp_path / "manifest")
    for file in target.iterdir():
        if not file.name.startswith(".mlflow-sftp-"):
            assert file.read_bytes() == (source / file.name).read_bytes()
    recorded = [record for record in read_manifest(tmp_path / "manifest") if record.state == "done"]
    assert len(recorded) < 12
    for path in list(source.iterdir())[:8]:
        path.unlink()
    ballast.unlink()
    shutil.rmtree(target)
    assert copy(str(source), place, manifest=tmp_path / "manifest").copied.files == 4


def test_a_wrong_host_key_stops_the_copy_before_it_begins(
    source: Path, sshd: SshServer, tmp_path: Path
) -> None:
    other = keygen(tmp_path / "other", "ed25519").with_suffix(".pub").read_text()
    sshd.known_hosts.write_text(f"[{sshd.host}]:{sshd.port} {other}")
    with pytest.raises(HostKeyRejectedError):
        copy(str(source), sshd.uri("target"))
    assert not (sshd.root / "target").exists()
