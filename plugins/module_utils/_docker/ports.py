# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port of this host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"
# Seconds: of this host, an answer comes at once.
_PATIENCE = 1.0


def is_taken(address: str, port: int) -> bool:
    """Say whether something listens there."""
    try:
        socket.create_connection((address, port), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True


def holder(port: int, proc: Path = Path("/proc")) -> str:
    """Name the program that listens on a port, as far as this user may know; empty where it cannot be told."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port, proc)}
    for process in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)) if sockets else []:
        if not sockets.isdisjoint(_open_files(process)):
            return f"{_name(process)}, process {process.name}"
    return ""


def _listening(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for words in map(str.split, lines):
            if words[3] == _LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                yield words[9]


def _open_files(process: Path) -> set[str]:
    found = set()
    try:
        for entry in (process / "fd").iterdir():
            found.add(str(entry.readlink()))
    except OSError:
        # It ended meanwhile, or is somebody else's.
        return found
    return found


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a program that has ended"
