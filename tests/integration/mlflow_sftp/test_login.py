"""Every way to log in and to know a server that the OpenSSH client configuration can name."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_sftp.errors import AuthenticationFailedError, InvalidSettingError, SftpError
from mlflow_sftp.storage import SftpStorage
from tests.support.server import keygen
from tests.support.sshd import SshServer
from tests.support.storing import settings_for, wait_until


def _works(server: SshServer) -> None:
    storage = SftpStorage(server.uri(), settings_for(server))
    storage.make_directory("d")
    assert [entry.path for entry in storage.list_directory() or []] == ["d"]


def _change(config: Path, old: str, new: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent without keys, which the environment names."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
        wait_until(socket.exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
        process.terminate()


def test_a_key_that_only_the_agent_has(agent: None, sshd: SshServer) -> None:
    subprocess.run(["ssh-add", "-q", str(sshd.client_key)], check=True)
    sshd.client_key.unlink()
    _change(sshd.ssh_config, f"  IdentityFile {sshd.client_key}\n  IdentitiesOnly yes\n", "")
    _works(sshd)


def test_a_certificate(tmp_path: Path) -> None:
    authority = keygen(tmp_path / "authority", "ed25519")
    config = f"TrustedUserCAKeys {authority}.pub\nAuthorizedKeysFile none"
    server = SshServer(tmp_path / "s", config=config)
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", server.user]
    subprocess.run([*command, f"{server.client_key}.pub"], check=True)
    with server:
        _works(server)
        os.unlink(f"{server.client_key}-cert.pub")
        with pytest.raises(Exception, match="refused to log in"):
            SftpStorage(server.uri(), settings_for(server, idle_timeout=1.0)).connect()


def test_a_key_that_is_replaced_under_a_process(sshd: SshServer, tmp_path: Path) -> None:
    """As playbooks/rotate.yml does: the next connection logs in with the new key, of which nobody tells the process."""
    storage = SftpStorage(sshd.uri(), settings_for(sshd, idle_timeout=0.1))
    storage.make_directory("before")
    following = keygen(tmp_path / "following", "ed25519")
    sshd.authorized_keys.write_text(following.with_suffix(".pub").read_text())
    # Beside a public half of another key, a private one is refused.
    sshd.client_key.with_suffix(".pub").unlink()
    following.rename(sshd.client_key)
    time.sleep(0.3)
    storage.make_directory("after")


def test_what_lies_beside_the_key_is_of_another_one(sshd: SshServer, tmp_path: Path) -> None:
    """As where a key was replaced, and its certificate or public half left behind."""
    other = keygen(tmp_path / "other", "ed25519")
    public = sshd.client_key.with_suffix(".pub")
    public.write_text(other.with_suffix(".pub").read_text())
    storage = SftpStorage(sshd.uri(), settings_for(sshd, retry_timeout=0.5))
    with pytest.raises(AuthenticationFailedError, match="public half beside the private key"):
        storage.list_directory()
    public.unlink()
    subprocess.run(["ssh-keygen", "-q", "-s", str(other), "-I", "test", f"{other}.pub"], check=True)
    Path(f"{other}-cert.pub").rename(f"{sshd.client_key}-cert.pub")
    with pytest.raises(AuthenticationFailedError, match=r"certificate beside the private key.*Remove it"):
        storage.list_directory()


def test_the_second_of_two_keys(sshd: SshServer, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other", "ed25519")
    _change(sshd.ssh_config, "  IdentityFile", f"  IdentityFile {other}\n  IdentityFile")
    _works(sshd)


def test_known_hosts_with_hashed_names(sshd: SshServer) -> None:
    subprocess.run(["ssh-keygen", "-H", "-f", str(sshd.known_hosts)], check=True, capture_output=True)
    assert sshd.known_hosts.read_text().startswith("|1|")
    _works(sshd)


def test_a_cipher_of_the_users_choice(tmp_path: Path) -> None:
    """With CBC the padding packets stay that protect it."""
    with SshServer(tmp_path / "s", config="Ciphers aes128-cbc") as server:
        server.ssh_config.write_text(server.ssh_config.read_text() + "  Ciphers aes128-cbc\n")
        _works(server)
        assert SftpStorage(server.uri(), settings_for(server)).connect()["cipher"] == "aes128-cbc"


def _with_line(line: str) -> Callable[[str], str]:
    return lambda config: f"{config}  {line}\n"


# What `ssh` takes, and asyncssh's own reader does not, or not so.
_CONFIGURATIONS: dict[str, Callable[[str], str]] = {
    "upper-case pattern": lambda config: config.replace("tajo.host.ch", "Tajo.Host.CH"),
    "a pattern that excludes": lambda config: config.replace("tajo.host.ch", "*.host.ch !Other.Host.CH"),
    "a key that is not there": _with_line("IdentityFile ~/.ssh/no-such-key"),
    "known hosts that are not there": lambda config: config.replace(
        "UserKnownHostsFile ", "UserKnownHostsFile ~/.ssh/no-such-file "
    ),
    "times with a unit": _with_line("ConnectTimeout 5s"),
    "a network": lambda config: f"Match localnetwork 203.0.113.0/24\n  Port 1\n{config}",
    "this network": lambda config: config.replace("  Port", "Match localnetwork 127.0.0.0/8\n  Port"),
    "a file that is not there": lambda config: f"Include /nowhere/*.conf\n{config}",
    "a keyword of other systems": lambda config: f"IgnoreUnknown UseKeychain\nUseKeychain yes\n{config}",
}


@pytest.mark.parametrize("kind", _CONFIGURATIONS)
def test_a_configuration_that_ssh_takes(kind: str, sshd: SshServer) -> None:
    sshd.ssh_config.write_text(_CONFIGURATIONS[kind](sshd.ssh_config.read_text()))
    uri = f"sftp://TAJO.host.ch{sshd.root}"
    assert SftpStorage(uri, settings_for(sshd, retry_timeout=0.5)).list_directory() == []


def test_known_hosts_named_by_tokens(sshd: SshServer) -> None:
    sshd.known_hosts.rename(sshd.known_hosts.with_name(f"{sshd.host} hosts"))
    config = sshd.ssh_config.read_text()
    sshd.ssh_config.write_text(config.replace(str(sshd.known_hosts), f'"{sshd.known_hosts.parent}/%h hosts"'))
    assert SftpStorage(sshd.uri(), settings_for(sshd, retry_timeout=0.5)).list_directory() == []


def test_a_configuration_that_nobody_can_read_is_named(
    sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a program `ssh`, too."""
    sshd.ssh_config.write_text(f"ServerAliveInterval often\n{sshd.ssh_config.read_text()}")
    for path in (os.environ["PATH"], "/nowhere"):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(InvalidSettingError, match="line 1"):
            SftpStorage(sshd.uri(), settings_for(sshd, retry_timeout=0.5)).list_directory()


def test_a_host_is_never_an_option_of_ssh(sshd: SshServer, tmp_path: Path) -> None:
    sshd.ssh_config.write_text("ConnectTimeout 5s\n")
    uri = f"sftp://-oProxyCommand=touch%20{str(tmp_path / 'owned').replace('/', '%2F')}/x"
    with pytest.raises(SftpError):
        SftpStorage(uri, settings_for(sshd, retry_timeout=0.5)).list_directory()
    assert not (tmp_path / "owned").exists()
