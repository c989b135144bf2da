"""This machine as a remote Docker host: another port, and a user who has sudo and may not use Docker."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.sshd import SshServer

USER = "operator"
PASSWORD = "correct horse"
_UID = 23456


class DockerHost(SshServer):
    """sshd that lets USER in, who is known to nobody else on this machine: the server has accounts of its own.

    Args:
        directory: Where keys, configuration and the home are; USER must be able to enter it.
        sudo: What sudo asks before USER may do anything: NOPASSWD or PASSWD.
    """

    def __init__(self, directory: Path, sudo: str = "NOPASSWD") -> None:
        super().__init__(directory, shell=True)
        self.user = USER
        self._sudo = sudo
        os.chown(self.root, _UID, _UID)
        # sshd reads the key as the user.
        self._settings.chmod(0o755)

    @property
    def variables(self) -> dict[str, object]:
        """How the inventory says to reach the host, as its user with sudo."""
        return {
            **super().variables,
            "ansible_become": True,
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def _command(self) -> list[str]:
        accounts = self._settings / "accounts"
        accounts.mkdir(exist_ok=True)
        command = ["openssl", "passwd", "-6", "-stdin"]
        hashed = subprocess.run(
            command, input=PASSWORD, check=True, capture_output=True, text=True
        ).stdout.strip()
        lines = {
            "passwd": f"{USER}:x:{_UID}:{_UID}::{self.root}:/bin/bash",
            "shadow": f"{USER}:{hashed}:20000:0:99999:7:::",
            "group": f"{USER}:x:{_UID}:",
            "sudoers": f"{USER} ALL=(ALL:ALL) {self._sudo}: ALL",
        }
        binds = []
        for name, line in lines.items():
            original, own = Path("/etc", name), accounts / name
            shutil.copy(original, own)
            os.chown(own, original.stat().st_uid, original.stat().st_gid)
            with own.open("a") as file:
                file.write(line + "\n")
            binds.append(f"mount --bind '{own}' {original}")
        return [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            "; ".join([*binds, f"exec {' '.join(super()._command())}"]),
        ]


@contextmanager
def docker_host(sudo: str = "NOPASSWD") -> Iterator[DockerHost]:
    """A Docker host in a directory that every user can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="mlflow-docker-host.", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        with DockerHost(Path(directory), sudo) as host:
            yield host
