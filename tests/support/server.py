"""What all SFTP servers of the tests have in common: an account with its keys, and how one starts."""

import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self
from urllib.parse import quote

_START_SECONDS = 10.0
_ATTEMPTS = 5


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def keygen(path: Path, key_type: str, comment: str = "test") -> Path:
    """Make an unprotected key pair `path`, `path`.pub of `key_type` (ed25519, ecdsa, rsa)."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", key_type, "-N", "", "-C", comment, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


def rfc4716(public_key: str) -> str:
    """Return a public key in the format that ProFTPD's mod_sftp reads."""
    command = ["ssh-keygen", "-e", "-f", "/dev/stdin"]
    return subprocess.run(command, input=public_key, check=True, capture_output=True, text=True).stdout


def fingerprint(public_key: Path) -> str:
    """Return the "SHA256:..." fingerprint of a public key file."""
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-E", "sha256", "-f", str(public_key)],
        check=True,
        capture_output=True,
        text=True,
    )
    return shown.stdout.split()[1]


def wait_for_banner(host: str, port: int, seconds: float = _START_SECONDS) -> None:
    """Wait until an SSH server greets on host:port; TimeoutError otherwise.

    A line is sent before hanging up: sshd logs clients that connect and say nothing.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host, port), timeout=1) as probe:
                probe.sendall(b"SSH-2.0-probe\r\n")
                if probe.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"no SSH banner on {host}:{port} within {seconds:g} s")
        time.sleep(0.02)


class PortTakenError(Exception):
    """Somebody else took the port between its choice and its use."""


class SftpServer(ABC):
    """A server on a loopback port, with its own host key, one authorized client key and a directory to play in.

    Paths in URIs are absolute paths of this machine, below `root`; the server shows them under the same names.

    Attributes: host, port, user, root, client_key, host_key, known_hosts, host_key_fingerprint,
    ssh_config (an OpenSSH client configuration that knows all of them), writes_back (acknowledged files come to its
    disk a moment later).

    Args:
        directory: Where keys, configuration and `root` go; must not be shared by two servers.
        user: Who logs in.
        client_key_type: ed25519, ecdsa or rsa.
        host_key_type: ed25519, ecdsa or rsa.
    """

    def __init__(
        self, directory: Path, user: str, *, client_key_type: str = "ed25519", host_key_type: str = "ed25519"
    ) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.user = user
        self.writes_back = False
        self.root = directory / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self._settings = directory / "server"
        self._settings.mkdir()
        self.client_key = keygen(directory / f"id_{client_key_type}", client_key_type)
        self.host_key = keygen(self._settings / "host_key", host_key_type)
        self.host_key_fingerprint = fingerprint(self.host_key.with_suffix(".pub"))
        self.known_hosts = directory / "known_hosts"
        self.ssh_config = directory / "ssh_config"
        self._started = False

    def uri(self, path: str | Path = "") -> str:
        """Return the sftp:// URI of `path`: absolute, or relative to `root`."""
        return f"sftp://{self.user}@{self.host}:{self.port}{quote(str(self.root / path))}"

    @property
    def public_client_key(self) -> str:
        """The line for authorized_keys."""
        return self.client_key.with_suffix(".pub").read_text()

    def start(self) -> None:
        """Start listening; on the first start other ports are tried if this one was taken meanwhile."""
        for _ in range(1 if self._started else _ATTEMPTS):
            self._write_client_files()
            try:
                self._launch()
                wait_for_banner(self.host, self.port)
                if not self._lives():
                    raise PortTakenError
            except PortTakenError:
                self._end(signal.SIGKILL)
                self.port = free_port()
                continue
            except TimeoutError as error:
                said = self.said()
                self._end(signal.SIGKILL)
                raise RuntimeError(f"{error}; the server said: {said}") from error
            self._started = True
            return
        raise RuntimeError(f"the server does not start: {self.said()}")

    def stop(self) -> None:
        """End the listener and every open session in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the listener and every open session with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """stop() and start() on the same port with the same host key."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def said(self) -> str:
        """Return the server's log."""

    @abstractmethod
    def _launch(self) -> None:
        """Start on `port`, not waiting for it; PortTakenError if that is known already."""

    @abstractmethod
    def _lives(self) -> bool:
        """Tell whether what greeted on `port` can be this server."""

    @abstractmethod
    def _end(self, number: signal.Signals) -> None:
        """End the server and its sessions, if it runs."""

    def _write_client_files(self) -> None:
        public = self.host_key.with_suffix(".pub").read_text()
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {public}")
        self.ssh_config.write_text(
            f"Host {self.host} tajo.host.ch\n"
            f"  HostName {self.host}\n"
            f"  Port {self.port}\n"
            f"  User {self.user}\n"
            f"  IdentityFile {self.client_key}\n"
            f"  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n"
            f"  StrictHostKeyChecking yes\n"
        )
