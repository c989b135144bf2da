# SPDX-License-Identifier: GPL-3.0-or-later
"""The copy of the SFTP account that snapshots are made of: what of it the account has no more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import MANIFEST
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError


def superfluous(copied: Collection[str], listed: Collection[str], copy: str, uri: str) -> frozenset[str]:
    """Return the files of the copy that the account has no more.

    Args:
        copied: All files of the copy, as ``info --names`` tells.
        listed: All files of the account likewise.
        copy: Where the copy is.
        uri: Of the account.

    Raises:
        RefusedError: They may be the last ones: the account has lost all files, or no backup has made the copy.
    """
    there = {name for name in copied if not name.startswith(MANIFEST)}
    gone = frozenset(there.difference(listed))
    if gone and not listed:
        raise RefusedError(
            f"The account {uri} lists no file, and the copy of it in {copy} has {len(there)}. Nothing was changed",
            f"See whether it is the right account, and has lost its files. Where it has to be empty, remove {copy}",
        )
    # Snapshots lack it.
    if gone and MANIFEST not in copied:
        raise RefusedError(
            f"{copy} has {len(gone)} files that the account {uri} does not list, such as {min(gone)}, and a restore "
            "has brought them there. Nothing was changed",
            f"Bring them back (mlflow-sftp copy {copy} {uri} --only-missing), or remove {copy}, which the next backup "
            "makes anew",
        )
    return gone


def remove_files(top: Path, names: Collection[str]) -> None:
    """Remove files below a directory, and the directories that are empty then.

    `names` are relative; bytes that are not UTF-8 are escaped in them, as ``info --names`` does.
    """
    for directory, _, files in os.walk(top, topdown=False):
        paths = (Path(directory) / name for name in files)
        found = [path for path in paths if _named(path.relative_to(top)) in names]
        for path in found:
            path.unlink()
        if found:
            _remove_empty(Path(directory), top)


def _named(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _remove_empty(directory: Path, top: Path) -> None:
    with contextlib.suppress(OSError):
        while directory != top:
            directory.rmdir()
            directory = directory.parent
