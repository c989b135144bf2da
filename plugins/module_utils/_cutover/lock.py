# SPDX-License-Identifier: GPL-3.0-or-later
"""One cutover of a stack at a time, whoever starts it from wherever."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError

_FILE = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a stack's cutovers; the kernel releases what a process held that is gone.

    Raises:
        RefusedError: Somebody else holds it.
    """
    with open(directory / _FILE, "a+", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        told = _refusal(file)
        if told:
            raise RefusedError(told, "Wait until it has ended")
        file.truncate(0)
        file.write(_holder())
        file.flush()
        yield


def holder(directory: Path) -> str:
    """Return what to tell of whoever holds the lock; empty for nobody. Writes nothing."""
    try:
        with (directory / _FILE).open() as file:
            return _refusal(file)
    except FileNotFoundError:
        return ""


def _refusal(file: TextIO) -> str:
    """Lock a file, or return who holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        said = file.read().strip() or "it has not said who"
        return f"Another run works on this stack: {said}. Nothing was changed"
    return ""


def _holder() -> str:
    user = os.environ.get("SUDO_USER") or os.environ.get("USER") or str(os.getuid())
    came = os.environ.get("SSH_CONNECTION", "").split(" ")[0]
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return f"user {user}{f' from {came}' if came else ''}, process {os.getpid()}, since {since}\n"
