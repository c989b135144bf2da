# SPDX-License-Identifier: Apache-2.0
"""What both kinds of store share: entries, totals, what an entry may be, and the file that cannot be read."""

import posixpath
import stat
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from mlflow_sftp.errors import StorageError

EntryKind = Literal["file", "directory", "link", "other"]
# Told of what cannot be listed: relative path, reason.
OnUnreadable = Callable[[str, str], None]
ENTRY_KINDS: dict[int, EntryKind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


class Item(NamedTuple):
    """A file or directory; `path` is relative, with "/" and surrogate escapes, `stamp` changes with it."""

    path: str
    is_directory: bool
    size: int
    stamp: str


class Totals(NamedTuple):
    """Files, bytes."""

    files: int
    bytes: int


def parents(path: str) -> Iterator[str]:
    """The directories a relative path lies in, the innermost first, without ""."""
    while path := posixpath.dirname(path):
        yield path


def escape_undecodable(path: str) -> str:
    """A path with bytes that are not UTF-8 escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class FileProblemError(StorageError):
    """One source file cannot be read; the copy goes on without it."""
