"""An SFTP server that is a process of this machine: what they have in common, and how a process tree ends."""

import os
import pwd
import shutil
import signal
import subprocess
from abc import abstractmethod
from pathlib import Path

from tests.support.server import SftpServer

_STOP_SECONDS = 5.0

# Root without these is refused what the mode of its own files forbids, as any other user is.
_OVERRIDES = "-dac_override,-dac_read_search"


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


def require(program: str) -> None:
    """RuntimeError if a server's program is not installed."""
    if shutil.which(program) is None:
        raise RuntimeError(f"{program} is not installed: install what tests/apt-packages.txt lists")


def in_own_mounts(target: Path | str, replacement: Path, command: str) -> str:
    """Return a shell command that runs `command` where the file `target` is another one, for nobody else."""
    ours = "--mount" if os.getuid() == 0 else "--user --map-current-user --keep-caps --mount"
    return f"unshare {ours} sh -c 'mount --bind {replacement} {target} && exec {command}'"


class ProcessServer(SftpServer):
    """A server for one account, started as a process of the current user, or of `run_as` (root only).

    Args:
        directory: Where keys, configuration and `root` go; must not be shared by two servers.
        user: Who logs in; by default whoever runs the server.
        client_key_type: ed25519, ecdsa or rsa.
        host_key_type: ed25519, ecdsa or rsa.
        run_as: Run the server as this user.
        obeys_modes: Refuse root, too, what the modes of files forbid.
    """

    def __init__(
        self,
        directory: Path,
        *,
        user: str = "",
        client_key_type: str = "ed25519",
        host_key_type: str = "ed25519",
        run_as: str | None = None,
        obeys_modes: bool = False,
    ) -> None:
        user = user or run_as or pwd.getpwuid(os.getuid()).pw_name
        super().__init__(directory, user, client_key_type=client_key_type, host_key_type=host_key_type)
        self.log = self._settings / "log"
        self._run_as = run_as
        self._obeys_modes = obeys_modes
        self._process: subprocess.Popen[bytes] | None = None
        if run_as:
            self._give_to(run_as)

    @property
    def pid(self) -> int:
        """The listening process's id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @abstractmethod
    def _command(self) -> list[str]:
        """Write the server's configuration and return the command that becomes the server, in the foreground."""

    def _launch(self) -> None:
        command = self._command()
        if self._obeys_modes and os.getuid() == 0 and not self._run_as:
            command = ["setpriv", f"--inh-caps={_OVERRIDES}", f"--bounding-set={_OVERRIDES}", *command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
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

    @property
    def authorized_keys(self) -> Path:
        """The file that decides who logs in."""
        return self._settings / "authorized_keys"

    def _authorized_keys(self) -> Path:
        """Write the file that lets the client's key in."""
        self.authorized_keys.write_text(self.public_client_key)
        return self.authorized_keys

    def _give_to(self, user: str) -> None:
        account = pwd.getpwnam(user)
        for path in (self.root, self._settings, self.host_key):
            os.chown(path, account.pw_uid, account.pw_gid)
