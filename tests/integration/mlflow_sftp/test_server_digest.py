"""Sums that a server is asked for: with a shell, without one, and where commands do not do what was asked."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.transfer import server_digest
from mlflow_sftp.wire import server_traits
from mlflow_sftp.wire.session import SftpSession
from tests.support.server import SftpServer
from tests.support.sshd import SshServer
from tests.support.storing import files_below, pattern, settings_for

_CONTENT = pattern(300_000)
_SUM = hashlib.sha256(_CONTENT).hexdigest()
_SFTP_SERVER = "/usr/lib/openssh/sftp-server"


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_traits, "_known", {})


@contextmanager
def _server(directory: Path, command: str, config: str = "") -> Iterator[SshServer]:
    """A server that does this, a line for a shell, with what is not SFTP; `$1` is what was to be run."""
    script = directory / "forced"
    script.write_text(f'case "$1" in internal-sftp*) exec {_SFTP_SERVER};; esac\n{command}\n')
    forced = f'ForceCommand exec sh {script} "$SSH_ORIGINAL_COMMAND"'
    with SshServer(directory / "server", shell=True, config=f"{forced}\n{config}") as server:
        (server.root / "f").write_bytes(_CONTENT)
        yield server


@pytest.fixture
def _no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the file is read back")

    monkeypatch.setattr(SftpSession, "read", read)


def _knows_a_shell(server: SftpServer) -> bool | None:
    (known,) = server_traits._known.values()
    return known.has_shell


_WITH_A_SHELL = {
    "a shell": 'eval "$1"',
    "a greeting before all output": 'echo Welcome to host; eval "$1"',
    "much on standard error": 'head -c 20000 /dev/zero 1>&2; eval "$1"',
    "shasum only": 'sha256sum() { return 127; }; eval "$1"',
}


@pytest.mark.usefixtures("_no_reading")
@pytest.mark.parametrize("name", ["f", "it's $x", os.fsdecode(b"caf\xe9"), "new\nline"])
def test_a_shell_is_asked_for_the_sum(tmp_path: Path, name: str) -> None:
    with SshServer(tmp_path / "s", shell=True) as server:
        (server.root / name).write_bytes(_CONTENT)
        assert SftpStorage(server.uri(), settings_for(server)).sha256(name) == _SUM
        assert list(files_below(server.root)) == [name]


@pytest.mark.usefixtures("_no_reading")
@pytest.mark.parametrize("kind", _WITH_A_SHELL)
def test_a_shell_with_its_ways_is_asked_for_the_sum(tmp_path: Path, kind: str) -> None:
    with _server(tmp_path, _WITH_A_SHELL[kind]) as server:
        assert SftpStorage(server.uri(), settings_for(server)).sha256("f") == _SUM


@pytest.mark.usefixtures("_no_reading")
@pytest.mark.parametrize("missing", ["openssl", "sha256sum"])
def test_a_large_file_is_summed_by_whichever_program_there_is(tmp_path: Path, missing: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(pattern(9 << 20))
    with _server(tmp_path, f'{missing}() {{ return 127; }}; eval "$1"') as server:
        SftpStorage(server.uri(), settings_for(server, verify="sha256")).upload(str(source), "large")
        assert (server.root / "large").read_bytes() == source.read_bytes()
        assert _knows_a_shell(server) is True


_WITHOUT = {
    "an SFTP server in its place": f"exec {_SFTP_SERVER}",
    "no answer, ever": "exec sleep 100",
    "output without end": "exec yes",
    "a refusal in words": "echo This account is for SFTP only.; exit 1",
    "words only": "echo This account is for SFTP only.",
    "a sum that is none": "echo not found",
    "files of another place": 'eval "$(echo "$1" | sed s:/server/root/:/elsewhere/:g)"',
}


@pytest.mark.parametrize("kind", _WITHOUT)
def test_where_commands_do_something_else_the_file_is_read_back(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "ever" in kind:
        monkeypatch.setattr(server_digest, "_PROBE_SECONDS", 0.5)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "f").write_bytes(b"another file")
    with _server(tmp_path, _WITHOUT[kind]) as server:
        storage = SftpStorage(server.uri(), settings_for(server, stall_timeout=5.0))
        assert storage.sha256("f") == _SUM
        assert _knows_a_shell(server) is False
        assert list(files_below(server.root)) == ["f"]


def test_a_sum_that_is_not_that_of_the_file_is_no_difference(tmp_path: Path) -> None:
    lie = f'case "$1" in cat*) eval "$1";; *) echo {"0" * 64};; esac'
    with _server(tmp_path, lie) as server:
        (tmp_path / "source").write_bytes(_CONTENT)
        storage = SftpStorage(server.uri(), settings_for(server, verify="sha256"))
        storage.upload(str(tmp_path / "source"), "g")
        assert storage.sha256("f") == _SUM
        assert _knows_a_shell(server) is False


def test_one_directory_that_may_not_be_written_says_nothing_of_others(tmp_path: Path) -> None:
    with SshServer(tmp_path / "s", shell=True, obeys_modes=True) as server:
        for name in ("open/f", "closed/f"):
            (server.root / name).parent.mkdir()
            (server.root / name).write_bytes(_CONTENT)
        (server.root / "closed").chmod(0o500)
        storage = SftpStorage(server.uri(), settings_for(server))
        assert storage.sha256("closed/f") == _SUM
        assert _knows_a_shell(server) is None
        assert storage.sha256("open/f") == _SUM
        assert _knows_a_shell(server) is True


def test_a_sum_that_takes_for_ever_is_not_waited_for(tmp_path: Path) -> None:
    with _server(tmp_path, 'case "$1" in cat*) eval "$1";; *) sleep 100;; esac') as server:
        storage = SftpStorage(server.uri(), settings_for(server, stall_timeout=0.5))
        assert storage.sha256("f") == _SUM


@pytest.mark.usefixtures("_no_reading")
def test_a_connection_that_drops_meanwhile_does_not_mean_that_there_is_no_shell(tmp_path: Path) -> None:
    dropped = tmp_path / "dropped"
    once = f'[ -e {dropped} ] || {{ touch {dropped}; kill -9 $PPID; sleep 5; }}; eval "$1"'
    with _server(tmp_path, once) as server:
        assert SftpStorage(server.uri(), settings_for(server)).sha256("f") == _SUM
        assert dropped.exists()
        assert _knows_a_shell(server) is True


@pytest.mark.parametrize(("channels", "known"), [(1, None), (2, True)])
def test_few_channels_are_not_taken_for_no_shell(tmp_path: Path, channels: int, known: bool | None) -> None:
    with _server(tmp_path, 'eval "$1"', f"MaxSessions {channels}") as server:
        storage = SftpStorage(server.uri(), settings_for(server))
        assert storage.sha256("f") == _SUM
        assert _knows_a_shell(server) is known
