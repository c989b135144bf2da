# SPDX-License-Identifier: Apache-2.0
"""Local files: walking, reading without holding up the event loop, temporary names beside the target."""

import asyncio
import errno
import logging
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

_log = logging.getLogger(__name__)


class LocalItem(NamedTuple):
    """A file or directory to upload; `relative` uses "/"."""

    path: str
    relative: str
    is_directory: bool


def walk(top: str) -> Iterator[LocalItem]:
    """Yield everything below `top`, a directory before its contents, following links.

    What cannot be an artifact is left out with a warning: dangling links, links back to a directory above, pipes,
    sockets and devices.
    """
    unread: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(top, "", frozenset())]
    while unread:
        directory, prefix, above = unread.pop()
        status = os.stat(directory)
        here = above | {(status.st_dev, status.st_ino)}
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                kind = _kind(entry, here)
                if kind is None:
                    continue
                item = LocalItem(entry.path, f"{prefix}{entry.name}", kind == stat.S_IFDIR)
                if item.is_directory:
                    unread.append((item.path, f"{item.relative}/", here))
                yield item


def _kind(entry: os.DirEntry[str], above: frozenset[tuple[int, int]]) -> int | None:
    try:
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        status = entry.stat()
    except OSError as error:
        _log.warning("%s is left out: %s", entry.path, error.strerror)
        return None
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR and (status.st_dev, status.st_ino) in above:
        _log.warning("%s is left out: it leads back to a directory above it", entry.path)
        return None
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        _log.warning("%s is left out: it is neither a file nor a directory", entry.path)
        return None
    return kind


async def read_block(descriptor: int, offset: int, size: int) -> bytes | memoryview:
    """Read up to `size` bytes (a block, at most about 1 MiB) at `offset` without holding up the event loop.

    Only what the disk must be asked for is read in a thread: two threads contending for the interpreter cost more
    than the read itself. A file system that cannot tell (tmpfs, NFS) is read at once.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return await asyncio.to_thread(_read_fully, descriptor, offset, size)
    buffer = bytearray(size)
    try:
        count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return await asyncio.to_thread(_read_fully, descriptor, offset, size)
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
        return _read_fully(descriptor, offset, size)
    if 0 < count < size:
        return await asyncio.to_thread(_read_fully, descriptor, offset, size)
    return memoryview(buffer)[:count]


def _read_fully(descriptor: int, offset: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.pread(descriptor, size, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return b"".join(parts)
