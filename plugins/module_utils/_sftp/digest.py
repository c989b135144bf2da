# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes and SHA-256 of the files below a remote directory, read back over SFTP."""

from __future__ import annotations

import hashlib
import posixpath
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import SftpClient

_BLOCK = 1 << 20


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

    Raises:
        OSError: when the server refuses to list or read something.
    """
    return [_digest(sftp, directory, path) for path in sorted(_walk(sftp, directory, ""))]


def _walk(sftp: SftpClient, directory: str, below: str) -> Iterator[str]:
    for entry in sftp.listdir_attr(posixpath.join(directory, below)):
        path = posixpath.join(below, entry.filename)
        if stat.S_ISDIR(entry.st_mode or 0):
            yield from _walk(sftp, directory, path)
        elif stat.S_ISREG(entry.st_mode or 0):
            yield path


def _digest(sftp: SftpClient, directory: str, path: str) -> FileDigest:
    # hashlib.file_digest is Python 3.11's; hosts that modules run on may have 3.10.
    checksum = hashlib.sha256()
    size = 0
    with sftp.open(posixpath.join(directory, path), "rb") as file:
        file.prefetch()
        while block := file.read(_BLOCK):
            checksum.update(block)
            size += len(block)
    return FileDigest(path, size, checksum.hexdigest())


def compare(files: list[FileDigest], expected: Mapping[str, str]) -> Differences:
    """Compare with what should be there, a mapping of path to hex SHA-256."""
    found = {file.path: file.sha256 for file in files}
    return Differences(
        missing=sorted(expected.keys() - found.keys()),
        changed=sorted(path for path in expected.keys() & found.keys() if expected[path] != found[path]),
        unexpected=sorted(found.keys() - expected.keys()),
    )
