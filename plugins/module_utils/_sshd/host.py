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
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import fingerprint
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sshd.configuration import (
    Candidate,
    Listener,
    Settings,
    Unit,
)

_UNITS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")
_LISTENING = "0A"
_LOGS = (Path("/var/log/auth.log"), Path("/var/log/secure"))
_LOG_TAIL = 200_000
_SHOWN_LINES = 4
# That directory is missing until sshd's first start where systemd starts it on demand.
_NO_ERROR = "privilege separation directory"
_DROPINS = re.compile(r"^\s*Include\s+.*/etc/ssh/sshd_config\.d/\*\.conf", re.IGNORECASE | re.MULTILINE)
_MATCHES_CLIENT = re.compile(
    r"^\s*Match\b.*\b(Address|Host|LocalAddress|LocalPort|RDomain)\b", re.IGNORECASE | re.MULTILINE
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that asks and changes nothing."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


def configuration_fault(sshd: str) -> str:
    """Return what sshd says against its configuration; empty if it takes it."""
    done = run(sshd, "-t")
    return "" if done.returncode == 0 or _NO_ERROR in done.stderr else done.stderr.strip()


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
    further = [entry.gr_name for entry in grp.getgrall() if user in entry.gr_mem]
    return Candidate(user, (group, *further), tuple(key.split()[0] for key in keys))


def exists(user: str) -> bool:
    """Tell whether there is such an account."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


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
