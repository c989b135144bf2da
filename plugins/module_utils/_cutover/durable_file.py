# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files that have their old content or the new one at any moment, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def read(path: Path) -> bytes | None:
    """Return the content of a file; None for one that is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write(path: Path, content: bytes | None, owner: tuple[int, int] | None = None, mode: int = 0o600) -> None:
    """Give a file its content and mode, and an owner (uid, gid) if it is not whoever writes; None removes it."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with open(temporary, "wb", opener=_private) as file:
        file.write(content)
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o600)
