"""Faults behind the login: SFTP itself, the directory, space, renaming, the line, a server that goes away."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import SFTP_SERVER, Diagnose, defective, options
from tests.support.container import CLOCK_BEHIND, ContainerServer, OpensshContainer, ProftpdContainer
from tests.support.link import Link
from tests.support.server import SftpServer
from tests.support.sshd import SshServer

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
Start = Callable[[str], SshServer]


def leftovers(server: SftpServer) -> list[str]:
    """Names below the directory checked."""
    return sorted(os.listdir(server.root))


@contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[None]:
    """Mount something for a while."""
    subprocess.run(["mount", *arguments, str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_login_without_sftp(misbehaving: Start, diagnose: Diagnose) -> None:
    seen = diagnose(
        options(misbehaving("ForceCommand /bin/false")), "no_sftp_subsystem", remedy="Subsystem sftp"
    )
    assert "exit status 1" in seen["detail"]


def test_login_that_prints(misbehaving: Start, diagnose: Diagnose) -> None:
    server = misbehaving("ForceCommand echo Welcome to tajo")
    seen = diagnose(options(server), "sftp_garbled", remedy=".bashrc")
    assert "Welcome to tajo" in seen["detail"]


def test_path_is_missing(sshd: SshServer, diagnose: Diagnose) -> None:
    (sshd.root / "agent").mkdir()
    path = str(sshd.root / "agent/artefacts")
    seen = diagnose(options(sshd, path=path), "path_missing", remedy=path)
    assert f"{sshd.root}/agent holds nothing" in seen["detail"]
    assert "/ holds " in seen["detail"]


def test_path_of_another_root(sshd: SshServer, diagnose: Diagnose) -> None:
    path = f"/srv/sftp/freegee{sshd.root}"
    seen = diagnose(options(sshd, path=path), "path_other_root", remedy="chroot")
    assert f"{sshd.root} does" in seen["detail"]


def test_path_is_a_file(sshd: SshServer, diagnose: Diagnose) -> None:
    file = sshd.root / "file"
    file.touch()
    diagnose(options(sshd, path=str(file)), "path_not_directory", remedy=str(file))


@needs_root
def test_path_may_not_be_listed(limited: SshServer, diagnose: Diagnose) -> None:
    limited.root.chmod(0o300)
    diagnose(options(limited), "path_denied", remedy="Give nobody read and search permission")


@needs_root
def test_directory_is_read_only(limited: SshServer, diagnose: Diagnose) -> None:
    limited.root.chmod(0o500)
    diagnose(options(limited), "path_read_only", remedy="Give nobody write permission")


@needs_root
def test_file_system_is_read_only(sshd: SshServer, diagnose: Diagnose) -> None:
    with mounted(sshd.root, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        diagnose(options(sshd), "path_read_only", remedy="mounted read-write")


@needs_root
def test_disk_is_full(sshd: SshServer, diagnose: Diagnose) -> None:
    with mounted(sshd.root, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        (sshd.root / "others").write_bytes(bytes((1 << 20) - 8192))
        seen = diagnose(options(sshd), "no_space", remedy="Free space")
        assert "bytes free" in seen["detail"]
        assert leftovers(sshd) == ["others"]


@needs_root
def test_inodes_are_used_up(sshd: SshServer, diagnose: Diagnose) -> None:
    with mounted(sshd.root, "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs"):
        seen = diagnose(options(sshd), "no_space", remedy="inodes")
        assert "no inodes" in seen["detail"]


def test_limit_of_file_size(misbehaving: Start, diagnose: Diagnose) -> None:
    server = misbehaving(f"ForceCommand trap '' XFSZ; ulimit -f 8; exec {SFTP_SERVER}")
    diagnose(options(server), "write_failed", remedy="quota")
    assert leftovers(server) == []


@needs_root
def test_own_files_cannot_be_read(open_directory: Path, diagnose: Diagnose) -> None:
    with SshServer(
        open_directory / "s", run_as="nobody", config="ForceCommand internal-sftp -u 0777"
    ) as server:
        diagnose(options(server), "read_failed", remedy="umask")
        assert leftovers(server) == []


def test_server_changes_bytes(misbehaving: Start, diagnose: Diagnose) -> None:
    server = misbehaving(defective("data"))
    diagnose(options(server), "content_differs", remedy="Stop using this storage")
    assert leftovers(server) == []


@pytest.mark.docker
@pytest.mark.parametrize("kind", [OpensshContainer, ProftpdContainer])
def test_clocks_differ(kind: type[ContainerServer], tmp_path: Path, diagnose: Diagnose) -> None:
    with kind(tmp_path / "server", environment=CLOCK_BEHIND) as server:
        seen = diagnose(options(server), "clock_skew", remedy="NTP")
        assert leftovers(server) == []
    assert seen["status"] == "warning"
    assert re.search(r"36\d\d s behind", seen["detail"])


def test_renaming_is_refused(misbehaving: Start, diagnose: Diagnose) -> None:
    server = misbehaving(f"ForceCommand {SFTP_SERVER} -P posix-rename,rename")
    diagnose(options(server), "rename_failed", remedy="right to rename")
    assert leftovers(server) == []


def test_renaming_is_not_atomic(misbehaving: Start, diagnose: Diagnose) -> None:
    server = misbehaving(f"ForceCommand {SFTP_SERVER} -P posix-rename")
    seen = diagnose(options(server), "rename_not_atomic", remedy="Nothing must be changed")
    assert seen["status"] == "warning"
    assert leftovers(server) == []


def test_deleting_is_refused(misbehaving: Start, diagnose: Diagnose) -> None:
    server = misbehaving(f"ForceCommand {SFTP_SERVER} -P remove")
    seen = diagnose(options(server), "delete_failed", remedy="right to delete")
    assert leftovers(server)[0] in seen["detail"]


def test_line_is_slow(sshd: SshServer, diagnose: Diagnose) -> None:
    with Link(sshd.port, round_trip=0.2) as link:
        sshd.known_hosts.write_text(sshd.known_hosts.read_text().replace(str(sshd.port), str(link.port)))
        changed = {"port": link.port, "write_probe": False, "connect_timeout": 10}
        seen = diagnose(options(sshd, **changed), "link_slow", remedy="nearer", limit=8)
    assert seen["status"] == "warning"
    assert "round trip 2" in seen["detail"]


def test_line_is_thin(sshd: SshServer, diagnose: Diagnose) -> None:
    with Link(sshd.port, bandwidth=500_000) as link:
        sshd.known_hosts.write_text(sshd.known_hosts.read_text().replace(str(sshd.port), str(link.port)))
        changed = {"port": link.port, "probe_size": 1_000_000, "connect_timeout": 10}
        seen = diagnose(options(sshd, **changed), "link_slow", remedy="nearer", limit=12)
    assert "0.5 MB/s" in seen["detail"] or "0.4 MB/s" in seen["detail"]


def test_session_stalls(misbehaving: Start, diagnose: Diagnose) -> None:
    server = misbehaving("ForceCommand sleep 20")
    seen = diagnose(options(server), "server_stalled", remedy=f"{server.host}:{server.port}")
    assert "within 2 s" in seen["detail"]


def test_session_is_killed(misbehaving: Start, diagnose: Diagnose) -> None:
    server = misbehaving("ForceCommand kill -9 $PPID")
    diagnose(options(server), "connection_lost", remedy="sshd was restarted")
