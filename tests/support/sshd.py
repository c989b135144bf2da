"""The machine's own sshd, as a process: quick to start, to stop in its tracks and to configure."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.support.process_server import ProcessServer

# No login but with the key, and no limit that a test did not ask for.
SSHD_CONFIG = """
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxSessions 100
UseDNS no
"""


class SshServer(ProcessServer):
    """sshd of this machine on loopback.

    Logs in as the current user, or as `run_as` (root only), with internal-sftp and no chroot. It starts in
    a twentieth of a second, can be stopped by a signal, filtered by the machine's own packet filter, run
    without privileges, and told to run programs of this checkout; for other servers see tests.support.servers.

    Args:
        directory: Where keys, configuration and `root` go; must not be shared by two servers.
        config: Extra sshd_config lines; they win over the defaults.
        client_key_type: ed25519, ecdsa or rsa.
        host_key_type: ed25519, ecdsa or rsa.
        shell: Allow commands beside SFTP (`sha256sum`, rsync).
        run_as: Run sshd as this user, who is then the only one who can log in.
        obeys_modes: Refuse root, too, what the modes of files forbid.
        subsystem: The program behind the subsystem sftp.
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
        obeys_modes: bool = False,
        subsystem: str = "internal-sftp",
    ) -> None:
        super().__init__(
            directory,
            client_key_type=client_key_type,
            host_key_type=host_key_type,
            run_as=run_as,
            obeys_modes=obeys_modes,
        )
        self._config = config
        self._shell = shell
        self._subsystem = subsystem

    @property
    def variables(self) -> dict[str, object]:
        """How an inventory says to reach the machine whose sshd it is."""
        return {
            "ansible_host": self.host,
            "ansible_port": self.port,
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": str(self.client_key),
            "ansible_ssh_common_args": f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={self.known_hosts}",
        }

    def _command(self) -> list[str]:
        if os.getuid() == 0 and not self._run_as:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        return [_sshd(), "-D", "-e", "-f", str(self._write_configuration())]

    def _write_configuration(self) -> Path:
        lines = [
            # Of most keywords the first line counts, of this one the last.
            "MaxStartups 100",
            self._config,
            f"ListenAddress {self.host}:{self.port}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self._authorized_keys()}",
            "StrictModes no",
            # Without PAM an sshd that is not root takes every account for locked: it cannot read shadow.
            f"UsePAM {'yes' if self._run_as else 'no'}",
            SSHD_CONFIG,
            f"Subsystem sftp {self._subsystem}",
        ]
        if not self._shell:
            lines.append("ForceCommand internal-sftp")
        if knows_per_source_penalties():
            lines.append("PerSourcePenalties no")
        path = self._settings / "sshd_config"
        path.write_text("\n".join(lines) + "\n")
        return path


def connection_without_login(server: SshServer) -> socket.socket:
    """Occupy one of the places that MaxStartups grants, once sshd has noticed that somebody before is gone."""
    for _ in range(100):
        other = socket.create_connection((server.host, server.port))
        if other.recv(4) == b"SSH-":
            return other
        other.close()
        time.sleep(0.05)
    raise TimeoutError("no place became free")


def _sshd() -> str:
    # sshd re-executes itself and therefore wants an absolute path.
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError("sshd is not installed: apt-get install openssh-server")
    return found


def knows_per_source_penalties() -> bool:
    """Whether this machine's sshd keeps clients out for a while that have failed."""
    shown = subprocess.run([_sshd(), "-V"], capture_output=True, text=True)
    version = (shown.stderr + shown.stdout).partition("OpenSSH_")[2].split(".")
    return version[0].isdigit() and (int(version[0]), int(version[1][0])) >= (9, 8)
