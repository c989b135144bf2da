# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is to know of sshd on this host: configuration, processes, ports, files, log."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import fingerprint
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sshd.configuration import (
    Candidate,
    Listener,
    Settings,
    Unit,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sshd.ownership import Account, Entry

_UNITS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")
_LISTENING = "0A"
_LOGS = (Path("/var/log/auth.log"), Path("/var/log/secure"))
_LOG_TAIL = 200_000
_SHOWN_LINES = 4
# That directory is missing until sshd's first start where systemd starts it on demand.
_NO_ERROR = "privilege separation directory"
_NO_LOGIN = re.compile(r"(nologin|false|sync)$")
_DROPINS = re.compile(r"^\s*Include\s+.*/etc/ssh/sshd_config\.d/\*\.conf", re.IGNORECASE | re.MULTILINE)
_MATCHES_CLIENT = re.compile(
    r"^\s*Match\b.*\b(Address|Host|LocalAddress|LocalPort|RDomain)\b", re.IGNORECASE | re.MULTILINE
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that asks and changes nothing."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )


@dataclass(frozen=True)
class Verdict:
    """What sshd says of its configuration.

    Attributes:
        fault: What it has against the configuration; empty if it takes it.
        is_ready: Whether it could start, and tell its settings.
    """

    fault: str
    is_ready: bool


def check_configuration(sshd: str) -> Verdict:
    """Have sshd check its configuration."""
    done = run(sshd, "-t")
    if done.returncode != 0 and _NO_ERROR in done.stderr:
        return Verdict("", is_ready=False)
    return Verdict("" if done.returncode == 0 else done.stderr.strip(), is_ready=done.returncode == 0)


def installs_with_apt() -> bool:
    """Tell whether this is a Debian, or a relative, that has its package manager."""
    return Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def reads_dropins() -> bool:
    """Tell whether sshd_config includes the drop-ins."""
    try:
        text = Path("/etc/ssh/sshd_config").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(_DROPINS.search(text))


def depends_on_client() -> bool:
    """Tell whether what applies to an account may depend on where its client connects from, or to."""
    files = [Path("/etc/ssh/sshd_config"), *Path("/etc/ssh/sshd_config.d").glob("*.conf")]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files if os.access(file, os.R_OK)]
    return any(_MATCHES_CLIENT.search(text) for text in texts)


def effective_settings(sshd: str, user: str, address: str = "127.0.0.1") -> str:
    """Return what applies to a user from an address; nothing where sshd cannot say so before its first start.

    Raises:
        OSError: with what sshd says.
    """
    done = run(sshd, "-T", "-C", f"user={user},host=localhost,addr={address}")
    if _NO_ERROR in done.stderr:
        return ""
    if done.returncode != 0:
        raise OSError(done.stderr.strip() or f"{sshd} -T fails")
    return done.stdout


def candidate(user: str, group: str, keys: Sequence[str]) -> Candidate:
    """Return an account as it will be, once its primary group is `group`."""
    return Candidate(user, (group, *_further_groups(user)), tuple(key.split()[0] for key in keys))


def _further_groups(user: str) -> list[str]:
    """Return the groups of a user beside the primary one, also those of a directory service that lists nobody."""
    try:
        primary = pwd.getpwnam(user).pw_gid
    except KeyError:
        return [entry.gr_name for entry in grp.getgrall() if user in entry.gr_mem]
    return [_group_name(gid) for gid in os.getgrouplist(user, primary) if gid != primary]


def other_settings(sshd: str, own: str) -> dict[str, str]:
    """Return what applies to every other local account that has a shell."""
    entries = [line.split(":") for line in _lines_of(Path("/etc/passwd"))]
    users = [entry[0] for entry in entries if len(entry) == 7 and not _NO_LOGIN.search(entry[6])]
    return {user: effective_settings(sshd, user) for user in users if user != own}


def _lines_of(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def account(user: str) -> Account | None:
    """Return an account, if there is one."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    group = _group_name(entry.pw_gid)
    shadow = next(
        (line.split(":") for line in _lines_of(Path("/etc/shadow")) if line.startswith(f"{user}:")), []
    )
    password, days = (shadow[1], shadow[4]) if len(shadow) > 4 else ("", "")
    return Account(
        entry.pw_uid,
        group,
        (group, *_further_groups(user)),
        entry.pw_gecos,
        entry.pw_dir,
        entry.pw_shell,
        password,
        days,
    )


def _user_name(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return ""


def _group_name(gid: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return ""


def entries(paths: Collection[str]) -> dict[str, Entry]:
    """Return what is at those of the paths where something is."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            found[path] = _entry(Path(path))
    return found


def _entry(path: Path) -> Entry:
    status = path.lstat()
    is_directory = stat.S_ISDIR(status.st_mode)
    is_empty = _holds_nothing(path) if is_directory else stat.S_ISREG(status.st_mode) and not status.st_size
    return Entry(
        _user_name(status.st_uid),
        _group_name(status.st_gid),
        stat.S_IMODE(status.st_mode),
        is_directory,
        is_empty,
    )


def _holds_nothing(directory: Path) -> bool:
    # Of millions of artifacts, the first will do.
    with os.scandir(directory) as found:
        return next(found, None) is None


def content(file: Path) -> bytes | None:
    """Return what is in a file; None if it is not there."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def hidden_directory(file: Path) -> Path | None:
    """Return the first directory down to a file that others than its owner may not search."""
    for directory in reversed(file.parents):
        try:
            mode = directory.stat().st_mode
        except OSError:
            return None
        if not mode & stat.S_IXOTH:
            return directory
    return None


def keys_refusal(file: Path, user: str) -> DiagnosedError | None:
    """Return why sshd, which reads keys with the rights of the account, cannot read them, if so."""
    hidden = hidden_directory(file)
    if hidden is None:
        return None
    seen = f"{hidden} has mode {stat.S_IMODE(hidden.stat().st_mode):04o}"
    return DiagnosedError("sshd_keys_unreadable", seen, user=user, directory=hidden)


def units() -> list[Unit]:
    """Return the units of sshd; none where systemd does not run."""
    if not Path("/run/systemd/system").is_dir() or not shutil.which("systemctl"):
        return []
    found = {}
    for name in _UNITS:
        done = run("systemctl", "show", "--property=Id,LoadState,ActiveState", name)
        shown = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        # A unit and its alias are one.
        is_active = shown.get("ActiveState") in ("active", "reloading")
        unit = Unit(shown.get("Id", name), shown.get("LoadState") == "loaded", is_active)
        found[unit.name] = unit
    return [unit for unit in found.values() if unit.is_loaded]


def listener(known: Sequence[Unit]) -> Listener:
    """Return the TCP ports on which something listens, and whether a socket of systemd does so for sshd."""
    ports = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == _LISTENING:
                ports.add(int(local.rpartition(":")[2], 16))
    socket = next((unit.name for unit in known if unit.name.endswith(".socket") and unit.is_active), "")
    return Listener(frozenset(ports), socket)


def master(settings: Settings, sshd: str) -> tuple[int, float | None]:
    """Return the process of sshd that listens, 0 if there is none, and when it read its configuration, None if unknown.

    sshd writes the file with its number anew whenever it reads its configuration.
    """
    file = Path((settings.get("pidfile") or ["none"])[0])
    try:
        pid, written = int(file.read_text()), file.stat().st_mtime
        if Path(f"/proc/{pid}/exe").samefile(sshd):
            return pid, written
    except (OSError, ValueError):
        pass
    return 0, None


def host_keys(settings: Settings) -> list[str]:
    """Return the fingerprints of the host keys that can be read."""
    shown = [run("ssh-keygen", "-y", "-P", "", "-f", file) for file in settings.get("hostkey", ())]
    public = [done.stdout.split() for done in shown if done.returncode == 0]
    return [fingerprint(fields[1]) for fields in public if len(fields) > 1]


def log_of(user: str, seconds: float) -> list[str]:
    """Return the last lines of sshd's log about an account, as far as there is a log on this host."""
    if shutil.which("journalctl"):
        since = f"--since=-{seconds:.0f}s"
        text = run(
            "journalctl", "-q", "--no-pager", "-o", "cat", since, "-t", "sshd", "-t", "sshd-session"
        ).stdout
    else:
        text = ""
    for file in _LOGS:
        if not text.strip() and file.exists():
            with file.open("rb") as stream:
                stream.seek(max(0, file.stat().st_size - _LOG_TAIL))
                text = "\n".join(
                    re.findall(r"sshd(?:-session)?\[\d+\]: (.*)", stream.read().decode("utf-8", "replace"))
                )
    telling = [line for line in text.splitlines() if user in line and not line.startswith("Accepted ")]
    return telling[-_SHOWN_LINES:]
