"""Dropbear with OpenSSH's sftp-server on a free loopback port: what small devices and some hosters run."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.support.sshd import end_process_tree, free_port, keygen, wait_for_banner


def installed() -> bool:
    """Tell whether the server is there."""
    return shutil.which("dropbear") is not None


class DropbearServer:
    """host, port, user, root, client_key, known_hosts and home, as of tests.support.sshd.SshServer.

    Dropbear reads ~/.ssh/authorized_keys of the account and nothing else, so the account's home directory is
    replaced for this server by a mount that only it sees: root only.
    """

    def __init__(self, directory: Path) -> None:
        account = pwd.getpwuid(os.getuid())
        self.host = "127.0.0.1"
        self.port = free_port()
        self.user = account.pw_name
        self.home = directory / "home"
        self.root = self.home
        self._real_home = account.pw_dir
        self._directory = directory
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        self.home.chmod(0o700)
        self.client_key = keygen(directory / "id_ed25519", "ed25519")
        self.authorized_keys = self.home / ".ssh/authorized_keys"
        self.authorized_keys.write_text(self.client_key.with_suffix(".pub").read_text())
        self.authorized_keys.chmod(0o600)
        self.known_hosts = directory / "known_hosts"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listen, and note the host key made on the way."""
        host_key = self._directory / "host_key"
        made = subprocess.run(
            ["dropbearkey", "-t", "ed25519", "-f", str(host_key)], check=True, capture_output=True, text=True
        )
        public = next(line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519 "))
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {public}\n")
        serve = f"mount --bind {self.home} {self._real_home} && exec dropbear -F -E -s -r {host_key} -p $0"
        self._process = subprocess.Popen(
            ["unshare", "-m", "sh", "-ec", serve, f"{self.host}:{self.port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for_banner(self.host, self.port)

    def stop(self) -> None:
        """End the server and its sessions."""
        if self._process is not None:
            end_process_tree(self._process, signal.SIGTERM)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
