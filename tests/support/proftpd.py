"""ProFTPD with mod_sftp on a free loopback port: the other SFTP server that shared hosting uses."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tests.support.sshd import end_process_tree, free_port, keygen, wait_for_banner

_PLACES = "/usr/sbin:/usr/local/sbin"


def installed() -> bool:
    """Tell whether the server and its SFTP module are there."""
    return shutil.which("proftpd", path=_PLACES) is not None and Path("/usr/lib/proftpd/mod_sftp.so").exists()


class ProftpdServer:
    """The same as tests.support.sshd.SshServer, for the current user: host, port, user, root, client_key,
    known_hosts, ssh_config, log, uri(), start(), stop(), kill(), restart()."""

    def __init__(self, directory: Path, *, config: str = "") -> None:
        account = pwd.getpwuid(os.getuid())
        self.host = "127.0.0.1"
        self.port = free_port()
        self.user = account.pw_name
        self.root = directory / "root"
        self._directory = directory / "proftpd"
        self._directory.mkdir(parents=True)
        self.root.mkdir()
        self.client_key = keygen(directory / "id_rsa", "rsa")
        self.host_key = keygen(self._directory / "host_key", "rsa")
        # mod_sftp reads PEM only.
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "", "-f", str(self.host_key)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self.known_hosts = directory / "known_hosts"
        self.ssh_config = directory / "ssh_config"
        self.log = self._directory / "log"
        self._config_file = self._directory / "proftpd.conf"
        self._config = config
        self._group = subprocess.run(["id", "-gn"], check=True, capture_output=True, text=True).stdout.strip()
        self._process: subprocess.Popen[bytes] | None = None

    def uri(self, path: str | Path = "") -> str:
        """Return the sftp:// URI of `path`: absolute, or relative to `root`."""
        return f"sftp://{self.user}@{self.host}:{self.port}{quote(str(self.root / path))}"

    def start(self) -> None:
        self._write_configuration()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(shutil.which("proftpd", path=_PLACES)), "-n", "-c", str(self._config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for_banner(self.host, self.port)
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(f"{error}; proftpd said: {self.log.read_text()}") from error

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
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

    def _write_configuration(self) -> None:
        public = self.host_key.with_suffix(".pub").read_text()
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {public}")
        self.ssh_config.write_text(
            f"Host {self.host}\n  Port {self.port}\n  User {self.user}\n  IdentityFile {self.client_key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
        )
        authorized = self._directory / "authorized_keys"
        exported = subprocess.run(
            ["ssh-keygen", "-e", "-f", str(self.client_key.with_suffix(".pub"))],
            check=True,
            capture_output=True,
        )
        authorized.write_bytes(exported.stdout)
        lines = [
            "LoadModule mod_sftp.c",
            "ServerName test",
            "ServerType standalone",
            "DefaultAddress 127.0.0.1",
            "UseIPv6 off",
            "UseReverseDNS off",
            f"Port {self.port}",
            f"User {self.user}",
            f"Group {self._group}",
            "Umask 022",
            f"PidFile {self._directory / 'pid'}",
            "ScoreboardFile none",
            "AuthOrder mod_auth_unix.c",
            "WtmpLog off",
            "RootLogin on",
            "UseFtpUsers off",
            "RequireValidShell off",
            "DelayEngine off",
            "SFTPEngine on",
            f"SFTPLog {self._directory / 'sftp.log'}",
            f"SFTPHostKey {self.host_key}",
            f"SFTPAuthorizedUserKeys file:{authorized}",
            "SFTPAuthMethods publickey",
            "AllowOverwrite on",
            "AllowStoreRestart on",
            self._config,
        ]
        self._config_file.write_text("\n".join(lines) + "\n")
