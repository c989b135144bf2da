"""The SFTP servers that people use, each as a process on loopback that starts in well under a second.

All show the paths of this machine, let one key in, and take the same arguments; see tests.support.container for those
in a chroot, and for OpenSSH 10.
"""

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support.process_server import ProcessServer, in_own_mounts, require
from tests.support.server import SftpServer, rfc4716
from tests.support.sshd import SshServer

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
_GESFTPSERVER = "/usr/libexec/gesftpserver"
_PROFTPD = "/usr/sbin/proftpd"
_DROPBEAR = "/usr/sbin/dropbear"
_DEFECTIVE = Path(__file__).parents[1] / "faults" / "defective_sftp_server.py"
_OBSTINATE = _DEFECTIVE.with_name("obstinate_sftp_server.py")

# What it limits unasked (5 kB/s, one connection) and hides is switched off.
_MYSECURESHELL_CONFIG = """
<Default>
GlobalDownload 0
GlobalUpload 0
Download 0
Upload 0
LimitConnection 0
LimitConnectionByUser 0
LimitConnectionByIP 0
IdleTimeOut 0
StayAtHome false
VirtualChroot false
ResolveIP false
HideNoAccess false
ShowLinksAsLinks true
DefaultRights 0644 0755
LogFile {log}
</Default>
"""


class ExternalSftpServer(SshServer):
    """sshd with a shell and a program of its own behind the subsystem: by default OpenSSH's sftp-server."""

    def __init__(
        self, directory: Path, *, config: str = "", program: str = SFTP_SERVER, obeys_modes: bool = False
    ) -> None:
        require(program)
        super().__init__(directory, config=config, shell=True, subsystem=program, obeys_modes=obeys_modes)


class ForcedSftpServer(SshServer):
    """sshd with OpenSSH's sftp-server as the only command: whatever is asked for, that starts.

    Of a command that is no SFTP it never says anything: it waits for packets.
    """

    def __init__(
        self, directory: Path, *, config: str = "", program: str = SFTP_SERVER, obeys_modes: bool = False
    ) -> None:
        forced = f"{config}\nForceCommand {program}"
        super().__init__(directory, config=forced, shell=True, obeys_modes=obeys_modes)


class GesftpServer(ExternalSftpServer):
    """sshd with Green End's sftp-server, which works on several requests at once."""

    def __init__(self, directory: Path, *, config: str = "", obeys_modes: bool = False) -> None:
        super().__init__(directory, config=config, program=_GESFTPSERVER, obeys_modes=obeys_modes)


class MySecureShellServer(SshServer):
    """sshd with MySecureShell as the only command, as it is for an account whose shell it is."""

    def __init__(self, directory: Path, *, config: str = "", obeys_modes: bool = False) -> None:
        require("mysecureshell")
        super().__init__(directory, config=config, shell=True, obeys_modes=obeys_modes)
        settings = self._settings / "sftp_config"
        settings.write_text(_MYSECURESHELL_CONFIG.format(log=self._settings / "mysecureshell.log"))
        command = in_own_mounts("/etc/ssh/sftp_config", settings, f"mysecureshell -c {SFTP_SERVER}")
        self._config = f"{config}\nForceCommand {command}"


class DefectiveServer(ForcedSftpServer):
    """sshd with the server of tests/faults that has a defect: statvfs answers too little, or as `defect` says."""

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "",
        defect: str = "statvfs-short",
        obeys_modes: bool = False,
    ) -> None:
        program = f"{sys.executable} {_DEFECTIVE} {defect} {SFTP_SERVER}"
        super().__init__(directory, config=config, program=program, obeys_modes=obeys_modes)


class ObstinateServer(ForcedSftpServer):
    """sshd with the server of tests/faults that works on requests otherwise than OpenSSH, as `how` says."""

    def __init__(self, directory: Path, how: str, *, config: str = "", obeys_modes: bool = False) -> None:
        program = f"{sys.executable} {_OBSTINATE} {how} {SFTP_SERVER}"
        super().__init__(directory, config=config, program=program, obeys_modes=obeys_modes)


class ProftpdServer(ProcessServer):
    """ProFTPD with mod_sftp; its accounts are in a file of its own."""

    def __init__(self, directory: Path, *, config: str = "", obeys_modes: bool = False) -> None:
        require(_PROFTPD)
        super().__init__(directory, obeys_modes=obeys_modes)
        self._config = config

    def _command(self) -> list[str]:
        accounts = self._settings / "passwd"
        accounts.write_text(f"{self.user}:*:{os.getuid()}:{os.getgid()}::{self.root}:/bin/sh\n")
        accounts.chmod(0o600)
        keys = self._authorized_keys()
        keys.write_text(rfc4716(self.public_client_key))
        identity = ["User nobody", "Group nogroup"] if os.getuid() == 0 else []
        lines = [
            "LoadModule mod_sftp.c",
            "LoadModule mod_xfer.c",
            "ServerName test",
            "ServerType standalone",
            f"DefaultAddress {self.host}",
            f"Port {self.port}",
            "SocketBindTight on",
            "UseIPv6 off",
            "UseReverseDNS off",
            *identity,
            "Umask 022",
            f"PidFile {self._settings / 'pid'}",
            "ScoreboardFile none",
            "DelayEngine off",
            "WtmpLog off",
            "TransferLog none",
            f"SystemLog {self._settings / 'system.log'}",
            "AuthOrder mod_auth_file.c",
            f"AuthUserFile {accounts}",
            "RootLogin on",
            "UseFtpUsers off",
            "RequireValidShell off",
            "SFTPEngine on",
            f"SFTPLog {self._settings / 'sftp.log'}",
            f"SFTPHostKey {self.host_key}",
            f"SFTPAuthorizedUserKeys file:{keys}",
            "SFTPAuthMethods publickey",
            "AllowOverwrite on",
            "AllowStoreRestart on",
            self._config,
        ]
        path = self._settings / "proftpd.conf"
        path.write_text("\n".join(lines) + "\n")
        return [_PROFTPD, "--nodaemon", "--config", str(path)]


class DropbearServer(ProcessServer):
    """Dropbear with a shell, and OpenSSH's sftp-server behind its subsystem."""

    def __init__(self, directory: Path, *, obeys_modes: bool = False) -> None:
        require(_DROPBEAR)
        super().__init__(directory, obeys_modes=obeys_modes)

    def _command(self) -> list[str]:
        # It reads authorized_keys of the account's home only, which the account file says.
        home = self._settings / "home"
        (home / ".ssh").mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / ".ssh" / "authorized_keys").write_text(self.public_client_key)
        accounts = self._settings / "passwd"
        account = pwd.getpwnam(self.user)
        accounts.write_text(f"{self.user}:x:{account.pw_uid}:{account.pw_gid}::{home}:/bin/sh\n")
        key = self._settings / "dropbear_key"
        convert = ["dropbearconvert", "openssh", "dropbear", str(self.host_key), str(key)]
        subprocess.run(convert, check=True, capture_output=True)
        server = f"{_DROPBEAR} -F -E -s -p {self.host}:{self.port} -r {key} -P {self._settings / 'pid'}"
        return ["sh", "-c", f"exec {in_own_mounts('/etc/passwd', accounts, server)}"]


class RcloneServer(ProcessServer):
    """rclone `serve sftp`: Go's pkg/sftp, which other servers are made of too.

    Without a cache it writes each file in order and once, as object storage wants it; with `writes` and `full` it
    collects a file in its cache and takes it to its place after it was closed.

    Args:
        directory: Where keys, cache and `root` go; must not be shared by two servers.
        cache: off (rclone's default), minimal, writes or full.
        arguments: Further arguments of `rclone serve sftp`.
        obeys_modes: Refuse root, too, what the modes of files forbid.
    """

    def __init__(
        self,
        directory: Path,
        *,
        cache: str = "off",
        arguments: tuple[str, ...] = (),
        obeys_modes: bool = False,
    ) -> None:
        require("rclone")
        super().__init__(directory, obeys_modes=obeys_modes)
        self._cache = cache
        self.writes_back = cache in ("writes", "full")
        self._arguments = arguments

    def _command(self) -> list[str]:
        command = ["rclone", "--config", str(self._settings / "rclone.conf"), "serve", "sftp", "/"]
        command += ["--addr", f"{self.host}:{self.port}", "--user", self.user]
        command += ["--key", str(self.host_key), "--authorized-keys", str(self._authorized_keys())]
        command += ["--vfs-cache-mode", self._cache, "--cache-dir", str(self._settings / "cache")]
        # It would not see for minutes what a test puts on its disk, and take seconds to put there what it got.
        command += ["--dir-cache-time", "0s", "--vfs-write-back", "0s"]
        return [*command, *self._arguments]


class AsyncsshServer(ProcessServer):
    """The SFTP server that asyncssh brings along."""

    def __init__(self, directory: Path, *, obeys_modes: bool = False) -> None:
        super().__init__(directory, obeys_modes=obeys_modes)

    def _command(self) -> list[str]:
        program = Path(__file__).with_name("asyncssh_sftp_server.py")
        arguments = [self.host, str(self.port), str(self.host_key), str(self._authorized_keys())]
        return [sys.executable, "-P", str(program), *arguments]


# Each as `make(directory, obeys_modes=...)`.
SERVERS: dict[str, Callable[..., SftpServer]] = {
    "openssh-internal": SshServer,
    "openssh-external": ExternalSftpServer,
    "openssh-forced": ForcedSftpServer,
    "proftpd": ProftpdServer,
    "dropbear": DropbearServer,
    "rclone-off": partial(RcloneServer, cache="off"),
    "rclone-minimal": partial(RcloneServer, cache="minimal"),
    "rclone-writes": partial(RcloneServer, cache="writes"),
    "rclone-full": partial(RcloneServer, cache="full"),
    "mysecureshell": MySecureShellServer,
    "gesftpserver": GesftpServer,
    "asyncssh": AsyncsshServer,
    "defective": DefectiveServer,
}
