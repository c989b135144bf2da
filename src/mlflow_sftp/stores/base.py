# SPDX-License-Identifier: Apache-2.0
"""What both kinds of store share: entries, totals, what an entry may be, and the file that cannot be read."""

import posixpath
import stat
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from mlflow_sftp.errors import (
    IntegrityError,
    InvalidPathError,
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    StorageError,
)

# What a server says of one file or directory; anything else concerns the store as a whole.
ABOUT_ONE_FILE = (
    NotFoundError,
    PermissionRefusedError,
    InvalidPathError,
    ServerFailureError,
    IntegrityError,
)
EntryKind = Literal["file", "directory", "link", "other"]
# Told of what a listing lacks (unreadable, or led to by a link that cannot be followed): relative path, reason.
OnUnreadable = Callable[[str, str], None]
ENTRY_KINDS: dict[int, EntryKind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


class Item(NamedTuple):
    """A file or directory; `path` is relative, with "/" and surrogate escapes, `stamp` changes with it.

    `changed` is when it last did, in seconds by the store's own clock; None where that is unknown.
    """

    path: str
    is_directory: bool
    size: int
    stamp: str
    changed: float | None = None


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
    """One file cannot be read or written; the rest of the store can."""
