"""The machine's own sshd, as a process: quick to start, to stop in its tracks and to configure."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from tests.support.server import SftpServer

_STOP_SECONDS = 5.0

# No login but with the key, and no limit that a test did not ask for.
SSHD_CONFIG = """
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxSessions 100
UseDNS no
Subsystem sftp internal-sftp
"""


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


class SshServer(SftpServer):
    """sshd of this machine on loopback.

    Logs in as the current user, or as `run_as` (root only), with internal-sftp and no chroot. It starts in
    a twentieth of a second, can be stopped by a signal, filtered by the machine's own packet filter, run
    without privileges, and told to run programs of this checkout; for other servers see
    tests.support.container.

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
        user = run_as or pwd.getpwuid(os.getuid()).pw_name
        super().__init__(directory, user, client_key_type=client_key_type, host_key_type=host_key_type)
        self.log = self._settings / "log"
        self._config = config
        self._shell = shell
        self._run_as = run_as
        self._process: subprocess.Popen[bytes] | None = None
        if run_as:
            self._give_to(run_as)

    @property
    def pid(self) -> int:
        """The listening sshd's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def said(self) -> str:
        return self.log.read_text()

    def _launch(self) -> None:
        if os.getuid() == 0 and not self._run_as:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        configuration = self._write_configuration()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_sshd(), "-D", "-e", "-f", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._run_as,
                group=pwd.getpwnam(self._run_as).pw_gid if self._run_as else None,
                extra_groups=[] if self._run_as else None,
            )

    def _lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            end_process_tree(self._process, number)
            self._process = None

    def _write_configuration(self) -> Path:
        authorized = self._settings / "authorized_keys"
        authorized.write_text(self.public_client_key)
        lines = [
            # Of most keywords the first line counts, of this one the last.
            "MaxStartups 100",
            self._config,
            f"ListenAddress {self.host}:{self.port}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {authorized}",
            "StrictModes no",
            # Without PAM an sshd that is not root takes every account for locked: it cannot read shadow.
            f"UsePAM {'yes' if self._run_as else 'no'}",
            SSHD_CONFIG,
        ]
        if not self._shell:
            lines.append("ForceCommand internal-sftp")
        if _knows_per_source_penalties():
            lines.append("PerSourcePenalties no")
        path = self._settings / "sshd_config"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _give_to(self, user: str) -> None:
        account = pwd.getpwnam(user)
        for path in (self.root, self._settings, self.host_key):
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
