"""A real OpenSSH server on a free loopback port, for tests that need SFTP."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self
from urllib.parse import quote

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
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


def descendants(pid: int) -> list[int]:
    """Return the process ids of all children of `pid`, their children and so on."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = [pid]
    for ancestor in found:
        found.extend(child for child, parent in parents.items() if parent == ancestor)
    return found[1:]


def end_process_tree(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process and to all its descendants, which for sshd are the open sessions."""
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    process.wait(_STOP_SECONDS)


class SshServer:
    """sshd with its own host key, one authorized client key and a directory to play in.

    Logs in as the current user, or as `run_as` (root only), with internal-sftp and no chroot:
    paths in URIs are absolute paths of this machine, below `root`.

    Attributes: host, port, user, root, client_key, host_key, known_hosts, host_key_fingerprint,
    ssh_config (an OpenSSH client configuration that knows all of them), log.

    Args:
        directory: Where keys, configuration and `root` go; must not be shared by two servers.
        config: Extra sshd_config lines; they win over the defaults.
        client_key_type: ed25519, ecdsa or rsa.
        host_key_type: ed25519, ecdsa or rsa.
        shell: Allow commands beside SFTP (`sha256sum`, rsync).
        run_as: Run sshd as this user, who is then the only one who can log in.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "",
        client_key_type: str = "ed25519",
        host_key_type: str = "ed25519",
        shell: bool = False,
        run_as: str | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.user = run_as or pwd.getpwuid(os.getuid()).pw_name
        self.root = directory / "root"
        self._directory = directory / "sshd"
        self._directory.mkdir(parents=True)
        self.root.mkdir(exist_ok=True)
        self.client_key = keygen(directory / f"id_{client_key_type}", client_key_type)
        self.host_key = keygen(self._directory / "host_key", host_key_type)
        self.host_key_fingerprint = fingerprint(self.host_key.with_suffix(".pub"))
        self.known_hosts = directory / "known_hosts"
        self.ssh_config = directory / "ssh_config"
        self.log = self._directory / "log"
        self._config_file = self._directory / "sshd_config"
        self._config = config
        self._shell = shell
        self._run_as = run_as
        self._process: subprocess.Popen[bytes] | None = None
        if run_as:
            self._give_to(run_as)

    def uri(self, path: str | Path = "") -> str:
        """Return the sftp:// URI of `path`: absolute, or relative to `root`."""
        return f"sftp://{self.user}@{self.host}:{self.port}{quote(str(self.root / path))}"

    @property
    def pid(self) -> int:
        """The listening sshd's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start listening; on the first start another port is tried if this one was taken meanwhile."""
        first = not self._config_file.exists()
        for _ in range(_ATTEMPTS if first else 1):
            self._write_configuration()
            self._launch()
            try:
                self._wait_until_up()
            except RuntimeError:
                if not first:
                    raise
                self.port = free_port()
                continue
            return
        raise RuntimeError(f"sshd does not start: {self.log.read_text()}")

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

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            end_process_tree(self._process, number)
            self._process = None

    def _launch(self) -> None:
        if os.getuid() == 0 and not self._run_as:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_sshd(), "-D", "-e", "-f", str(self._config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._run_as,
                group=pwd.getpwnam(self._run_as).pw_gid if self._run_as else None,
                extra_groups=[] if self._run_as else None,
            )

    def _wait_until_up(self) -> None:
        assert self._process is not None
        try:
            wait_for_banner(self.host, self.port)
        except TimeoutError as error:
            self._end(signal.SIGKILL)
            raise RuntimeError(f"{error}; sshd said: {self.log.read_text()}") from error
        if self._process.poll() is not None:
            raise RuntimeError(f"sshd ended: {self.log.read_text()}")

    def _write_configuration(self) -> None:
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
        authorized = self._directory / "authorized_keys"
        authorized.write_text(self.client_key.with_suffix(".pub").read_text())
        lines = [
            # Of most keywords the first line counts, of this one the last.
            "MaxStartups 100",
            self._config,
            f"ListenAddress {self.host}:{self.port}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {authorized}",
            "PidFile none",
            "StrictModes no",
            # Without PAM an sshd that is not root takes every account for locked: it cannot read shadow.
            f"UsePAM {'yes' if self._run_as else 'no'}",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "MaxSessions 100",
            "UseDNS no",
            "Subsystem sftp internal-sftp",
        ]
        if not self._shell:
            lines.append("ForceCommand internal-sftp")
        if _knows_per_source_penalties():
            lines.append("PerSourcePenalties no")
        self._config_file.write_text("\n".join(lines) + "\n")

    def _give_to(self, user: str) -> None:
        account = pwd.getpwnam(user)
        for path in (self.root, self._directory, self.host_key):
            os.chown(path, account.pw_uid, account.pw_gid)


def _sshd() -> str:
    # sshd re-executes itself and therefore wants an absolute path.
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError("sshd is not installed: apt-get install openssh-server")
    return found


def _knows_per_source_penalties() -> bool:
    shown = subprocess.run([_sshd(), "-V"], capture_output=True, text=True)
    version = (shown.stderr + shown.stdout).partition("OpenSSH_")[2].split(".")
    return version[0].isdigit() and (int(version[0]), int(version[1][0])) >= (9, 8)
