"""SFTP servers of the kinds that shared hosting runs, each in a container of its own."""

import contextlib
import copy
import itertools
import os
import signal
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from tests.support.docker import DockerError, docker, sftp_servers_image, unused_name
from tests.support.server import PortTakenError, SftpServer, rfc4716
from tests.support.sshd import SSHD_CONFIG

_SETTINGS = "/etc/sftp-server"
_KEYS = ".ssh/authorized_keys"
_JAIL = "/srv/jail"
_STOP_SECONDS = 2
_PORT_TAKEN = ("port is already allocated", "address already in use")

# Variables of a server whose clock is an hour behind.
CLOCK_BEHIND = {"LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1", "FAKETIME": "-1h"}

# A container that starts again has its account already.
_START = """
if ! grep -q ^freegee: /etc/passwd; then
  echo '{account}' >>/etc/passwd
  test -z "$PASSWORD" || echo "freegee:$PASSWORD" | chpasswd
fi
{server}
"""

_rooms = itertools.count()


class ContainerServer(SftpServer):
    """A server for one account that has SFTP and nothing else: no shell, no Python.

    Attributes:
        name: The container's.
        home: The directory of this machine that is the account's /home/freegee.
        authorized_keys: The file in `home` that decides who logs in.

    Args:
        directory: Where keys, configuration, `home` and `root` go; must not be shared by two servers.
        config: Extra lines of the server's configuration.
        uid: The account's user id: by default that of the tests, so that each may change what the other wrote.
        password: The account's password, for servers whose configuration takes one.
        environment: Variables of the server.
        obeys_modes: Refuse root, too, what the modes of files forbid.
    """

    # Where the account's "/" is in the container.
    jail: ClassVar[str] = _JAIL
    # Where the server reads keys, relative to the account's home.
    keys: ClassVar[str] = _KEYS

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "",
        uid: int | None = None,
        password: str = "",
        environment: dict[str, str] | None = None,
        obeys_modes: bool = False,
    ) -> None:
        super().__init__(directory, "freegee")
        self.name = unused_name()
        self.home = directory / "home"
        self.authorized_keys = self.home / self.keys
        self.authorized_keys.parent.mkdir(parents=True, mode=0o700)
        self.authorized_keys.touch(mode=0o600)
        self.authorize(self.public_client_key)
        self._config = config
        self._environment = {"PASSWORD": password, **(environment or {})}
        self._obeys_modes = obeys_modes
        self._uid = os.getuid() if uid is None else uid
        if self._uid != os.getuid():
            for path in (self.root, self.home, self.authorized_keys.parent, self.authorized_keys):
                os.chown(path, self._uid, self._uid)

    def room(self) -> Self:
        """Return the same server with an empty directory as `root`, for one test of many."""
        room = copy.copy(self)
        room.root = self.root / f"room-{next(_rooms)}"
        room.root.mkdir()
        return room

    def authorize(self, public_key: str) -> None:
        """Let a further key log in."""
        with self.authorized_keys.open("a") as file:
            file.write(self._authorized(public_key))

    def said(self) -> str:
        return docker("logs", self.name)

    def __exit__(self, *_: object) -> None:
        self._remove()

    @abstractmethod
    def _configure(self) -> str:
        """Write the server's configuration and return the shell command that becomes the server."""

    @property
    def _account_home(self) -> str:
        """The home directory in passwd."""
        return "/home/freegee"

    def _authorized(self, public_key: str) -> str:
        """How the server wants a key to be written down."""
        return public_key

    def _launch(self) -> None:
        if self._started:
            docker("start", self.name)
            return
        account = f"freegee:*:{self._uid}:{self._uid}::{self._account_home}:/bin/sh"
        script = _START.format(account=account, server=self._configure())
        arguments = ["run", "--detach", "--pull", "never", "--name", self.name]
        arguments += ["--publish", f"{self.host}:{self.port}:22"]
        arguments += ["--volume", f"{self._settings}:{_SETTINGS}:ro"]
        arguments += ["--volume", f"{self.home}:{self.jail}/home/freegee"]
        arguments += ["--volume", f"{self.root}:{self.jail}{self.root}"]
        if self._obeys_modes:
            arguments += ["--cap-drop", "DAC_OVERRIDE", "--cap-drop", "DAC_READ_SEARCH"]
        for name, value in self._environment.items():
            arguments += ["--env", f"{name}={value}"]
        try:
            docker(*arguments, sftp_servers_image(), "sh", "-ec", script)
        except DockerError as error:
            self._remove()
            if any(words in str(error) for words in _PORT_TAKEN):
                raise PortTakenError from error
            raise

    def _lives(self) -> bool:
        # Docker publishes the port or says that it cannot.
        return True

    def _end(self, number: signal.Signals) -> None:
        if not self._started:
            self._remove()
        elif number == signal.SIGTERM:
            docker("stop", "--time", str(_STOP_SECONDS), self.name)
        else:
            # docker complains of a container that does not run.
            with contextlib.suppress(DockerError):
                docker("kill", self.name)

    def _remove(self) -> None:
        try:
            docker("rm", "--force", "--volumes", self.name)
        except DockerError as error:
            if "No such container" not in str(error):
                raise


class OpensshContainer(ContainerServer):
    """OpenSSH 10, chrooted, with internal-sftp as its only command."""

    def _configure(self) -> str:
        # Of this keyword the last line counts, as of no other.
        limits = ["PerSourcePenalties no"] * ("PerSourcePenalties" not in self._config)
        limits += ["MaxStartups 100"] * ("MaxStartups" not in self._config)
        lines = [
            self._config,
            *limits,
            f"HostKey {_SETTINGS}/host_key",
            f"AuthorizedKeysFile {self.jail}/home/freegee/{self.keys}",
            "UsePAM no",
            f"ChrootDirectory {self.jail}",
            "ForceCommand internal-sftp",
            SSHD_CONFIG,
            "Subsystem sftp internal-sftp",
        ]
        (self._settings / "sshd_config").write_text("\n".join(lines))
        return f"mkdir -p /run/sshd; exec /usr/sbin/sshd -D -e -f {_SETTINGS}/sshd_config"


class ProftpdContainer(ContainerServer):
    """ProFTPD with mod_sftp, chrooted."""

    keys = ".sftp/authorized_keys"

    @property
    def _account_home(self) -> str:
        return f"{self.jail}/home/freegee"

    def _authorized(self, public_key: str) -> str:
        return rfc4716(public_key)

    def _configure(self) -> str:
        lines = [
            "LoadModule mod_sftp.c",
            "LoadModule mod_xfer.c",
            "ServerName test",
            "ServerType standalone",
            "UseIPv6 off",
            "UseReverseDNS off",
            "Port 22",
            "User nobody",
            "Group nogroup",
            "Umask 022",
            f"DefaultRoot {self.jail}",
            "ScoreboardFile none",
            "AuthOrder mod_auth_unix.c",
            "WtmpLog off",
            "RootLogin on",
            "UseFtpUsers off",
            "RequireValidShell off",
            "SFTPEngine on",
            f"SFTPHostKey {_SETTINGS}/host_key",
            f"SFTPAuthorizedUserKeys file:{self.jail}/home/freegee/{self.keys}",
            *["SFTPAuthMethods publickey"] * ("SFTPAuthMethods" not in self._config),
            "AllowOverwrite on",
            "AllowStoreRestart on",
            self._config,
        ]
        (self._settings / "proftpd.conf").write_text("\n".join(lines) + "\n")
        return f"exec proftpd -n -c {_SETTINGS}/proftpd.conf"


class DropbearContainer(ContainerServer):
    """Dropbear with OpenSSH's sftp-server as its only command; it knows no chroot."""

    jail = ""

    def _configure(self) -> str:
        convert = f"dropbearconvert openssh dropbear {_SETTINGS}/host_key /run/host_key"
        return f"{convert}; exec dropbear -F -E -s -p 22 -r /run/host_key -c /usr/lib/openssh/sftp-server"
