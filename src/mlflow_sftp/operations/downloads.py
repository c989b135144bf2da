# SPDX-License-Identifier: Apache-2.0
"""Deleting what MLflow downloaded into the temporary directory of this machine, and never removed.

Python gives such directories names of one form, so others' stay. What a process has open stays whatever its age, and
so does what a process works in.
"""

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mlflow_sftp.operations.deletion import Deletion
from mlflow_sftp.stores.base import Totals

# What tempfile makes of no prefix and no suffix.
_NAME = re.compile(r"tmp[a-z0-9_]{8}")
_IN_USE = "a process has it open"


def clean_downloads(*, hours: float, directory: str | None = None, check: bool = False) -> Deletion:
    """Delete this user's nameless temporary directories and files in which nothing has changed for so many hours.

    Args:
        directory: Where they are; by default the directory that Python takes.
    """
    top = os.path.realpath(directory or tempfile.gettempdir())
    limit = time.time() - hours * 3600
    used = set(_used_below(top))
    found = Deletion()
    for entry in os.scandir(top):
        if not _NAME.fullmatch(entry.name) or entry.is_symlink():
            continue
        newest, totals = _look(entry.path)
        if newest > limit or entry.stat(follow_symlinks=False).st_uid != os.getuid():
            continue
        if entry.name in used:
            found.kept[entry.path] = _IN_USE
        elif check or _delete(entry.path, found.kept):
            found.count(totals)
    return found


def _look(top: str) -> tuple[float, Totals]:
    """When the newest of all that is there changed, and how much it is; a directory of no files counts as one."""
    files = size = 0
    newest = 0.0
    for path in _all_below(top):
        with suppress(FileNotFoundError):
            status = os.lstat(path)
            newest = max(newest, status.st_mtime)
            if not stat.S_ISDIR(status.st_mode):
                files += 1
                size += status.st_size
    return newest, Totals(max(files, 1), size)


def _all_below(top: str) -> Iterator[str]:
    yield top
    for directory, directories, files in os.walk(top):
        yield from (os.path.join(directory, name) for name in (*directories, *files))


def _used_below(top: str) -> Iterator[str]:
    """Names in `top` that processes of this user have open, or work in."""
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end, and others' cannot be looked at.
        with suppress(OSError):
            links = [process / "cwd", *(process / "fd").iterdir()]
            for link in links:
                with suppress(OSError):
                    target = os.readlink(link)
                    if target.startswith(f"{top}/"):
                        yield target[len(top) + 1 :].partition("/")[0]


def _delete(path: str, kept: dict[str, str]) -> bool:
    try:
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError as error:
        kept[path] = f"cannot be deleted: {error.strerror}"
        return False
    return True
