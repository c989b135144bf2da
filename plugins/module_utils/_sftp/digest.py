# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes and SHA-256 of the files below a remote directory, read back over SFTP."""

from __future__ import annotations

import hashlib
import posixpath
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import SftpClient, shown
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.files import kind_of

_MOST_LEVELS = 500


@dataclass(frozen=True)
class FileDigest:
    """A file: path relative to the directory asked for, size in bytes, hex SHA-256 of the content."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Differences:
    """How what is stored differs from what was expected; lists of paths."""

    missing: list[str]
    changed: list[str]
    unexpected: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.unexpected)

    def __str__(self) -> str:
        found = {"missing": self.missing, "changed": self.changed, "unexpected": self.unexpected}
        return "; ".join(f"{name}: {', '.join(paths)}" for name, paths in found.items() if paths)


def digest_tree(sftp: SftpClient, directory: str) -> list[FileDigest]:
    """Read every regular file below a directory; symbolic links are not followed. Sorted by path.

    What is not UTF-8 in a name is shown as ``\\xff``.

    Raises:
        OSError: when the server refuses to list or read something, or a file changes meanwhile.
    """
    return [_digest(sftp, directory, path) for path in sorted(_walk(sftp, directory, ""))]


def _walk(sftp: SftpClient, directory: str, below: str) -> Iterator[str]:
    if below.count("/") > _MOST_LEVELS:
        raise OSError(f"{shown(below)} is more than {_MOST_LEVELS} levels deep")
    for entry in sftp.entries(posixpath.join(directory, below)):
        path = posixpath.join(below, entry.name)
        kind = kind_of(sftp, posixpath.join(directory, path), entry.attributes)
        if kind == stat.S_IFDIR:
            yield from _walk(sftp, directory, path)
        elif kind == stat.S_IFREG:
            yield path


def _digest(sftp: SftpClient, directory: str, path: str) -> FileDigest:
    # hashlib.file_digest is Python 3.11's; hosts that modules run on may have 3.10.
    checksum = hashlib.sha256()
    size = 0
    for block in sftp.read(posixpath.join(directory, path)):
        checksum.update(block)
        size += len(block)
    return FileDigest(shown(path), size, checksum.hexdigest())


def compare(files: list[FileDigest], expected: Mapping[str, str]) -> Differences:
    """Compare with what should be there, a mapping of path to hex SHA-256."""
    found = {file.path: file.sha256 for file in files}
    return Differences(
        missing=sorted(expected.keys() - found.keys()),
        changed=sorted(path for path in expected.keys() & found.keys() if expected[path] != found[path]),
        unexpected=sorted(found.keys() - expected.keys()),
    )
