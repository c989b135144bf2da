"""Servers that die, links that stall, disks that fill: each ends in success or a clear error, in bounded time."""

import dataclasses
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from mlflow_sftp.errors import (
    AuthenticationFailedError,
    HostKeyRejectedError,
    InvalidSettingError,
    NoSpaceError,
    PermissionRefusedError,
    SftpError,
    UnreachableError,
)
from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.transfer import temporary_names
from tests.integration.mlflow_sftp.conftest import host_and_proftpd
from tests.support.container import ContainerServer, OpensshContainer, ProftpdContainer
from tests.support.link import Link
from tests.support.server import SftpServer, keygen
from tests.support.sshd import SshServer
from tests.support.storing import files_below, pattern, settings_for, through, wait_until

_LARGE = 60_000_000
_FILES = 400


@contextmanager
def _meanwhile(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run `work` on a thread during the block, then wait for it and raise what it raised."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    if failures:
        raise failures[0]


def _cut_off(link: Link, work: Callable[[], object], when: Callable[[], object]) -> None:
    """Run `work` and, at some point, take the network away for longer than it retries."""
    with _meanwhile(work):
        wait_until(when, 30)
        link.refuse()
        link.cut()


def _patient(settings: Settings) -> Settings:
    """The settings of the next process: the one that gave up may still be ending its last connection."""
    return dataclasses.replace(settings, retry_timeout=20.0)


def _has_files(root: Path, count: int) -> bool:
    return len(list(root.glob("t/*/f*"))) >= count


def _has_received(link: Link, count: int) -> bool:
    return link.bytes_down > count


@pytest.fixture
def many(tmp_path: Path) -> Path:
    source = tmp_path / "many"
    for index in range(_FILES):
        directory = source / f"d{index % 10}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{index}").write_bytes(pattern(20_000, index))
    return source


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(pattern(_LARGE))
    return path


@host_and_proftpd
def test_the_server_is_killed_and_restarted_while_many_files_go_up(
    mortal: SftpServer, many: Path, tmp_path: Path
) -> None:
    with Link(mortal.port, round_trip=0.02, bandwidth=8e6) as link:
        uri, settings = through(mortal, link, tmp_path)
        storage = SftpStorage(uri, settings)
        with _meanwhile(lambda: storage.upload_tree(str(many), "t")):
            for seen in (1, 100):
                wait_until(partial(_has_files, mortal.root, seen))
                mortal.kill()
                time.sleep(0.3)
                mortal.start()
        assert files_below(mortal.root / "t") == files_below(many)


@host_and_proftpd
def test_the_server_is_killed_and_restarted_while_a_large_file_goes_up(
    mortal: SftpServer, large: Path, tmp_path: Path
) -> None:
    with Link(mortal.port, round_trip=0.02, bandwidth=30e6) as link:
        uri, settings = through(mortal, link, tmp_path)
        with _meanwhile(lambda: SftpStorage(uri, settings).upload(str(large), "f")):
            wait_until(lambda: link.bytes_up > 10_000_000)
            mortal.kill()
            time.sleep(0.3)
            mortal.start()
        assert link.bytes_up < 1.6 * _LARGE
    assert files_below(mortal.root) == {"f": pattern(_LARGE)}


@host_and_proftpd
def test_the_server_is_killed_and_restarted_during_downloads(
    mortal: SftpServer, many: Path, tmp_path: Path
) -> None:
    (mortal.root / "large").write_bytes(pattern(_LARGE))
    with Link(mortal.port, round_trip=0.02, bandwidth=20e6) as link:
        uri, settings = through(mortal, link, tmp_path)
        storage = SftpStorage(uri, settings)
        storage.upload_tree(str(many), "many")
        for number, download in enumerate(
            (
                lambda: storage.download("large", str(tmp_path / "out")),
                lambda: storage.download_tree("many", str(tmp_path / "tree")),
            )
        ):
            before = link.bytes_down
            with _meanwhile(download):
                wait_until(partial(_has_received, link, before + 2_000_000))
                mortal.kill()
                time.sleep(0.3 + number / 10)
                mortal.start()
    assert (tmp_path / "out").read_bytes() == pattern(_LARGE)
    assert files_below(tmp_path / "tree") == files_below(many)


@host_and_proftpd
def test_the_server_is_killed_while_a_stream_goes_up(mortal: SftpServer, tmp_path: Path) -> None:
    data = pattern(20_000_000)
    (tmp_path / "f").write_bytes(data)
    with Link(mortal.port, round_trip=0.01, bandwidth=15e6) as link:
        uri, settings = through(mortal, link, tmp_path)
        storage = SftpStorage(uri, settings)
        with (tmp_path / "f").open("rb") as stream, _meanwhile(lambda: storage.upload_stream(stream, "f")):
            wait_until(lambda: link.bytes_up > 5_000_000)
            mortal.kill()
            mortal.start()
    assert files_below(mortal.root) == {"f": data}


@host_and_proftpd
def test_the_connection_is_cut_while_a_large_directory_is_listed(mortal: SftpServer, tmp_path: Path) -> None:
    expected = sorted(f"f{index:05}" for index in range(8000))
    for name in expected:
        (mortal.root / name).touch()
    with Link(mortal.port, round_trip=0.02, bandwidth=500e3) as link:
        uri, settings = through(mortal, link, tmp_path)
        storage = SftpStorage(uri, settings)
        found: list[str] = []
        with _meanwhile(lambda: found.extend(entry.path for entry in storage.list_directory() or [])):
            wait_until(lambda: link.bytes_down > 200_000)
            link.cut()
        assert found == expected
        walked: list[str] = []
        before = link.bytes_down
        with _meanwhile(lambda: walked.extend(entry.path for entry in storage.walk())):
            wait_until(lambda: link.bytes_down > before + 200_000)
            link.cut()
        assert sorted(walked) == expected


def test_a_link_that_stalls_and_comes_back(sshd: SshServer, large: Path, tmp_path: Path) -> None:
    with Link(sshd.port, round_trip=0.01, bandwidth=30e6) as link:
        uri, settings = through(sshd, link, tmp_path)
        with _meanwhile(lambda: SftpStorage(uri, settings).upload(str(large), "f")):
            wait_until(lambda: link.bytes_up > 10_000_000)
            link.stall()
            time.sleep(1.5)
            link.resume()
        assert link.accepted == 1
    assert files_below(sshd.root) == {"f": pattern(_LARGE)}


def test_a_link_that_stays_stalled_is_an_error_in_bounded_time(sshd: SshServer, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with Link(sshd.port) as link:
        uri, settings = through(
            sshd, link, tmp_path, stall_timeout=1.0, connect_timeout=1.0, retry_timeout=2.0
        )
        storage = SftpStorage(uri, settings)
        storage.connect()
        link.stall()
        started = time.monotonic()
        for call in (
            lambda: storage.upload(str(tmp_path / "f"), "f"),
            lambda: storage.list_directory(),
            lambda: storage.stat("f"),
        ):
            with pytest.raises(UnreachableError, match="127"):
                call()
        assert time.monotonic() - started < 20
        link.resume()
        storage.upload(str(tmp_path / "f"), "f")
    assert files_below(sshd.root) == {"f": b"x"}


def test_a_stalled_connection_is_replaced(sshd: SshServer, tmp_path: Path) -> None:
    """What hangs is the old connection (a firewall forgot it); a new one works."""
    (tmp_path / "f").write_text("x")
    with Link(sshd.port) as link:
        uri, settings = through(sshd, link, tmp_path, stall_timeout=1.0)
        storage = SftpStorage(uri, settings)
        storage.connect()
        for pipe in list(link._pipes):
            pipe.deliver = lambda: None  # type: ignore[method-assign]
        storage.upload(str(tmp_path / "f"), "f")
        assert link.accepted == 2


def test_an_outage_is_an_error_and_never_an_empty_list(mortal: SftpServer) -> None:
    storage = SftpStorage(mortal.uri(), settings_for(mortal, retry_timeout=0.5))
    (mortal.root / "f").touch()
    assert storage.list_directory()
    mortal.kill()
    for call in (storage.list_directory, storage.stat, storage.remove, lambda: list(storage.walk())):
        with pytest.raises(UnreachableError, match="refused"):
            call()
    mortal.start()
    assert [entry.path for entry in storage.list_directory() or []] == ["f"]


@host_and_proftpd
def test_a_trainer_does_not_notice_a_restart(mortal: SftpServer, tmp_path: Path) -> None:
    storage = SftpStorage(mortal.uri(), settings_for(mortal))
    for step in range(4):
        (tmp_path / "f").write_text(str(step))
        storage.upload(str(tmp_path / "f"), f"step{step}")
        mortal.restart()
    assert len(os.listdir(mortal.root)) == 4


def test_a_server_that_starts_late(sshd: SshServer, tmp_path: Path) -> None:
    sshd.stop()
    (tmp_path / "f").write_text("x")
    storage = SftpStorage(sshd.uri(), settings_for(sshd))
    with _meanwhile(lambda: storage.upload(str(tmp_path / "f"), "f")):
        time.sleep(0.7)
        sshd.start()
    assert files_below(sshd.root) == {"f": b"x"}


def test_a_server_that_closes_idle_connections(tmp_path: Path) -> None:
    with SshServer(tmp_path / "s", config="ChannelTimeout session=1s\nUnusedConnectionTimeout 1s") as server:
        storage = SftpStorage(server.uri(), settings_for(server))
        (tmp_path / "f").write_text("x")
        for number in range(2):
            storage.upload(str(tmp_path / "f"), f"f{number}")
            time.sleep(3)
        storage.upload(str(tmp_path / "f"), "f2")
        assert len(files_below(server.root)) == 3


def test_an_idle_connection_is_closed(sshd: SshServer, tmp_path: Path) -> None:
    with Link(sshd.port) as link:
        uri, settings = through(sshd, link, tmp_path, idle_timeout=0.2)
        storage = SftpStorage(uri, settings)
        storage.connect()
        storage.list_directory()
        wait_until(lambda: link.open_connections == 0)
        storage.list_directory()
        assert link.accepted == 2


def test_a_server_that_grants_one_channel_only(tmp_path: Path, large: Path) -> None:
    with (
        SshServer(tmp_path / "s", config="MaxSessions 1") as server,
        Link(server.port, round_trip=0.05) as link,
    ):
        uri, settings = through(server, link, tmp_path)
        storage = SftpStorage(uri, settings)
        storage.upload(str(large), "f")
        storage.download("f", str(tmp_path / "back"))
        assert 1 < link.accepted <= settings.max_connections
    assert (tmp_path / "back").read_bytes() == pattern(_LARGE)


@host_and_proftpd
def test_an_uploader_killed_leaves_no_file_of_that_name_and_the_next_one_resumes(
    mortal: SftpServer, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    size = 70_000_000
    source.write_bytes(pattern(size))
    with Link(mortal.port, round_trip=0.005, bandwidth=80e6) as link:
        uri, settings = through(mortal, link, tmp_path)
        environment = os.environ | {"MLFLOW_SFTP_SSH_CONFIG": str(settings.ssh_config)}
        program = "from mlflow_sftp.cli.main import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, "copy", str(source), f"{uri}/f"], env=environment
        )
        wait_until(lambda: link.bytes_up > 50_000_000, 30)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert all(temporary_names.is_temporary(os.fsencode(name)) for name in os.listdir(mortal.root))
        assert SftpStorage(uri, settings).list_directory() == []
        before = link.bytes_up
        SftpStorage(uri, settings).upload(str(source), "f")
        assert link.bytes_up - before < size - 8_000_000
    assert files_below(mortal.root) == {"f": pattern(size)}


def test_a_leftover_with_other_bytes_is_not_resumed(sshd: SshServer, tmp_path: Path) -> None:
    source = tmp_path / "large"
    size = 70_000_000
    source.write_bytes(pattern(size))
    with Link(sshd.port, round_trip=0.005, bandwidth=80e6) as link:
        uri, settings = through(sshd, link, tmp_path, retry_timeout=0.3)
        storage = SftpStorage(uri, settings)
        with pytest.raises(UnreachableError):
            _cut_off(link, lambda: storage.upload(str(source), "f"), lambda: link.bytes_up > 50_000_000)
        link.refuse(False)
        (leftover,) = sshd.root.iterdir()
        with leftover.open("r+b") as file:
            file.write(b"\xff" * 40_000)
        SftpStorage(uri, _patient(settings)).upload(str(source), "f")
    assert (sshd.root / "f").read_bytes() == pattern(size)


def test_an_interrupted_download_leaves_nothing_of_that_name_and_resumes(
    sshd: SshServer, tmp_path: Path
) -> None:
    size = 70_000_000
    (sshd.root / "f").write_bytes(pattern(size))
    with Link(sshd.port, round_trip=0.005, bandwidth=80e6) as link:
        uri, settings = through(sshd, link, tmp_path, retry_timeout=0.3)
        storage = SftpStorage(uri, settings)
        (tmp_path / "d").mkdir()
        with pytest.raises(UnreachableError):
            _cut_off(
                link,
                lambda: storage.download("f", str(tmp_path / "d/f")),
                lambda: link.bytes_down > 50_000_000,
            )
        assert not (tmp_path / "d/f").exists()
        link.refuse(False)
        before = link.bytes_down
        SftpStorage(uri, _patient(settings)).download("f", str(tmp_path / "d/f"))
        assert link.bytes_down - before < size - 8_000_000
    assert files_below(tmp_path / "d") == {"f": pattern(size)}


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("kind", [OpensshContainer, ProftpdContainer])
@pytest.mark.parametrize("size", [600_000, 9_000_000])
def test_a_full_disk_is_named_and_spares_the_old_file(
    kind: type[ContainerServer], size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = kind(tmp_path / "s")
    # A container sees what was mounted before it started.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(server.root)], check=True)
    try:
        with server:
            storage = SftpStorage(server.uri(), settings_for(server))
            (tmp_path / "f").write_bytes(pattern(500_000))
            storage.upload(str(tmp_path / "f"), "f")
            (tmp_path / "f").write_bytes(pattern(size, 1))
            with pytest.raises(NoSpaceError, match="Free space"):
                storage.upload(str(tmp_path / "f"), "f")
            storage.stat()
            assert files_below(server.root) == {"f": pattern(500_000)}
    finally:
        subprocess.run(["umount", "--lazy", str(server.root)], check=True)
    # All parts of a file fail at once, and only one failure is told.
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.fixture(params=["host", OpensshContainer, ProftpdContainer])
def unprivileged(request: pytest.FixtureRequest) -> Iterator[SftpServer]:
    """A server whose user is not root, so that permissions mean something."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        if request.param == "host":
            run_as = "nobody" if os.getuid() == 0 else None
            server: SftpServer = SshServer(Path(directory, "s"), run_as=run_as)
        else:
            server = request.param(Path(directory, "s"), uid=os.getuid() or 1000)
        with server:
            yield server


def test_a_read_only_directory_is_named(unprivileged: SftpServer, tmp_path: Path) -> None:
    storage = SftpStorage(unprivileged.uri("d"), settings_for(unprivileged))
    (tmp_path / "f").write_text("x")
    storage.upload(str(tmp_path / "f"), "f")
    (unprivileged.root / "d").chmod(0o555)
    calls: list[Callable[[], object]] = [
        lambda: storage.upload(str(tmp_path / "f"), "f"),
        lambda: storage.upload(str(tmp_path / "f"), "new/f"),
        lambda: storage.upload(str(tmp_path / "f"), "new/deep/er/f"),
        lambda: storage.upload_tree(str(tmp_path), ""),
        lambda: storage.remove("f"),
    ]
    for call in calls:
        with pytest.raises(PermissionRefusedError, match="permission denied"):
            call()
    assert files_below(unprivileged.root / "d") == {"f": b"x"}


def test_permission_lost_while_running(unprivileged: SftpServer, tmp_path: Path) -> None:
    storage = SftpStorage(unprivileged.uri("d"), settings_for(unprivileged))
    (tmp_path / "f").write_text("x")
    storage.upload(str(tmp_path / "f"), "f")
    (unprivileged.root / "d").chmod(0)
    for call in (storage.list_directory, lambda: storage.download("f", str(tmp_path / "out"))):
        with pytest.raises(PermissionRefusedError):
            call()


def test_a_host_key_that_is_not_known(sshd: SshServer, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other", "ed25519").with_suffix(".pub").read_text()
    for known in ("", f"[127.0.0.1]:{sshd.port} {other}", f"127.0.0.1 {other}"):
        sshd.known_hosts.write_text(known)
        started = time.monotonic()
        with pytest.raises(HostKeyRejectedError, match="known_hosts"):
            SftpStorage(sshd.uri(), settings_for(sshd, idle_timeout=len(known) + 1.0)).list_directory()
        assert time.monotonic() - started < 5


def test_checking_host_keys_cannot_be_switched_off(sshd: SshServer) -> None:
    for line in ("UserKnownHostsFile none", "StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null"):
        text = sshd.ssh_config.read_text().splitlines()
        kept = [each for each in text if "KnownHosts" not in each and "Strict" not in each]
        config = sshd.ssh_config.with_name(f"config-{len(line)}")
        config.write_text("\n".join([*kept, f"  {line}"]) + "\n")
        with pytest.raises((InvalidSettingError, HostKeyRejectedError)):
            SftpStorage(sshd.uri(), Settings(ssh_config=config, retry_timeout=1)).list_directory()


def test_a_key_that_is_not_authorized(mortal: SftpServer, tmp_path: Path) -> None:
    keygen(tmp_path / "other", "ed25519")
    config = tmp_path / "config"
    config.write_text(mortal.ssh_config.read_text().replace(str(mortal.client_key), str(tmp_path / "other")))
    started = time.monotonic()
    with pytest.raises(AuthenticationFailedError, match="private key"):
        SftpStorage(mortal.uri(), Settings(ssh_config=config)).list_directory()
    assert time.monotonic() - started < 5


def test_a_key_file_that_is_missing(sshd: SshServer, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(sshd.ssh_config.read_text().replace(str(sshd.client_key), str(tmp_path / "nowhere")))
    with pytest.raises(SftpError, match="nowhere"):
        SftpStorage(sshd.uri(), Settings(ssh_config=config)).list_directory()


def test_an_account_without_sftp(tmp_path: Path) -> None:
    with SshServer(tmp_path / "s", config="ForceCommand echo no SFTP here") as server:
        storage = SftpStorage(server.uri(), settings_for(server, retry_timeout=0.5))
        with pytest.raises(SftpError, match="127"):
            storage.list_directory()


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
def test_every_key_type(tmp_path: Path, key_type: str) -> None:
    with SshServer(tmp_path / "s", client_key_type=key_type, host_key_type=key_type) as server:
        assert SftpStorage(server.uri(), settings_for(server)).list_directory() == []


@pytest.mark.parametrize("kind", ["openssh", "proftpd"])
@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_every_key_type_on_other_servers(
    containers: Callable[[str], ContainerServer], tmp_path: Path, kind: str, key_type: str
) -> None:
    server = containers(kind).room()
    key = keygen(tmp_path / "key", key_type)
    server.authorize(key.with_suffix(".pub").read_text())
    config = tmp_path / "config"
    config.write_text(server.ssh_config.read_text().replace(str(server.client_key), str(key)))
    assert SftpStorage(server.uri(), Settings(ssh_config=config)).list_directory() == []


def test_a_key_with_a_passphrase(sshd: SshServer) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", str(sshd.client_key)], check=True)
    assert SftpStorage(sshd.uri(), settings_for(sshd, key_passphrase="open sesame")).list_directory() == []
    with pytest.raises(AuthenticationFailedError, match="private key") as caught:
        SftpStorage(sshd.uri(), settings_for(sshd, key_passphrase="wrong")).list_directory()
    assert "wrong" not in str(caught.value)
