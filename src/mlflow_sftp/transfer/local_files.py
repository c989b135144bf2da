# SPDX-License-Identifier: Apache-2.0
"""Local files: walking, hashing, reading without holding up the event loop."""

import asyncio
import errno
import hashlib
import io
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mlflow_sftp.transfer import temporary_names

_log = logging.getLogger(__name__)

_STEPPED_ASIDE = "stepped aside for an upload by SFTP; it comes back when it is listed by SFTP"


class LocalItem(NamedTuple):
    """A file or directory; `relative` to where the walk began, with "/". `entry.stat()` follows links."""

    relative: str
    is_directory: bool
    entry: os.DirEntry[str]

    @property
    def path(self) -> str:
        return self.entry.path


class LocalDirectory(NamedTuple):
    """A directory that is to be listed; `above` are device and inode of those that the walk came through."""

    path: str
    relative: str = ""
    above: frozenset[tuple[int, int]] = frozenset()


class FileChangedError(Exception):
    """A local file was rewritten while it was read: what was read may be half of one state, half of another."""


class LocalListing(NamedTuple):
    """What a directory holds; of what is unusable, relative path and reason."""

    items: list[LocalItem]
    directories: list[LocalDirectory]
    unusable: list[tuple[str, str]]


def list_directory(directory: LocalDirectory, *, with_status: bool = False) -> LocalListing:
    """List one directory, following links; OSError where it cannot be listed.

    What cannot be an artifact is `unusable`: dangling links, links back to a directory above, pipes, sockets and
    devices. Unfinished downloads are left out. With `with_status` all entries are looked up, which `entry.stat()` then
    need not do; without, only those that are not plainly files.
    """
    status = os.stat(directory.path)
    above = directory.above | {(status.st_dev, status.st_ino)}
    prefix = f"{directory.relative}/" if directory.relative else ""
    listing = LocalListing([], [], [])
    with os.scandir(directory.path) as entries:
        for entry in entries:
            relative = prefix + entry.name
            if entry.name.startswith(temporary_names.PREFIX):
                name = os.fsencode(entry.name)
                if temporary_names.is_temporary(name):
                    continue
                if temporary_names.parse_aside(name):
                    listing.unusable.append((relative, _STEPPED_ASIDE))
                    continue
            is_directory, reason = _look_at(entry, above, with_status)
            if reason:
                listing.unusable.append((relative, reason))
                continue
            listing.items.append(LocalItem(relative, is_directory, entry))
            if is_directory:
                listing.directories.append(LocalDirectory(entry.path, relative, above))
    return listing


def walk(top: str, on_unreadable: Callable[[str, str], None] | None = None) -> Iterator[LocalItem]:
    """Yield everything below `top`, a directory before its contents; see `list_directory`.

    What is unreadable is told to `on_unreadable(relative, reason)`; without one, a warning names it.
    """
    unread = [LocalDirectory(top)]
    while unread:
        listing = list_directory(unread.pop())
        for relative, reason in listing.unusable:
            if on_unreadable is not None:
                on_unreadable(relative, reason)
            else:
                _log.warning("%s %s; it is left out", os.path.join(top, relative), reason)
        unread.extend(sorted(listing.directories))
        yield from sorted(listing.items, key=lambda item: item.relative)


def _look_at(
    entry: os.DirEntry[str], above: frozenset[tuple[int, int]], with_status: bool
) -> tuple[bool, str]:
    """Return whether an entry leads to a directory, and why it cannot be used, or ""."""
    try:
        if not with_status and entry.is_file(follow_symlinks=False):
            return False, ""
        status = entry.stat()
    except FileNotFoundError:
        return False, "leads nowhere"
    except OSError as error:
        return False, f"cannot be looked at: {error.strerror}"
    if stat.S_ISDIR(status.st_mode):
        leads_back = (status.st_dev, status.st_ino) in above
        return True, "leads back to a directory above it" if leads_back else ""
    return False, "" if stat.S_ISREG(status.st_mode) else "is neither a file nor a directory"


def digest(file: str | int, size: int | None = None) -> tuple[int, str]:
    """Return how many bytes a file holds and their SHA-256 (hexadecimal); blocks on the disk.

    `file` is a path, or a descriptor, whose position is neither used nor moved. With `size`, the first so many bytes.
    """
    descriptor = os.open(file, os.O_RDONLY) if isinstance(file, str) else file
    try:
        part = _Part(descriptor, sys.maxsize if size is None else size)
        found = hashlib.file_digest(part, "sha256").hexdigest()
        return part.offset, found
    finally:
        if isinstance(file, str):
            os.close(descriptor)


async def sha256(descriptor: int, size: int) -> str:
    """Return the SHA-256 (hexadecimal) of the first `size` bytes of an open file, without holding up the event loop."""
    _, found = await asyncio.to_thread(digest, descriptor, size)
    return found


class _Part(io.RawIOBase):
    """The first `size` bytes of a file, read without its position, which others may use meanwhile."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.offset = 0
        self._descriptor = descriptor
        self._size = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._size - self.offset]
        count = os.preadv(self._descriptor, [view], self.offset)
        self.offset += count
        return count


def has_grown(descriptor: int, opened: os.stat_result) -> bool:
    """Tell whether a file that was read up to its size when it was opened has become longer since.

    That may be a log, of which what was there is taken. FileChangedError if it was changed otherwise. `opened` is its
    status when it was opened.
    """
    now = os.fstat(descriptor)
    if now.st_size > opened.st_size:
        return True
    if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
        opened.st_size,
        opened.st_mtime_ns,
        opened.st_ctime_ns,
    ):
        raise FileChangedError
    return False


async def read_small(descriptor: int, opened: os.stat_result) -> bytes | memoryview:
    """Read a small file as long as it was when it was opened; fewer bytes where it became shorter.

    FileChangedError where it was rewritten meanwhile.
    """
    data = await read_block(descriptor, 0, opened.st_size)
    if len(data) < opened.st_size:
        return data
    # What only grew still begins with what was read.
    if has_grown(descriptor, opened) and data != await read_block(descriptor, 0, opened.st_size):
        raise FileChangedError
    return data


def write_all(descriptor: int, data: bytes | bytearray | memoryview, offset: int = 0) -> None:
    """Write all of `data` at `offset`; OSError where it does not all go in.

    A write may be cut short without an error: the next one, of the rest, says what is wrong (disk full, quota).
    """
    view = memoryview(data).cast("B")
    while view:
        count = os.pwrite(descriptor, view, offset)
        if count <= 0:
            raise OSError(errno.EIO, "the file system takes no more bytes")
        view, offset = view[count:], offset + count


def close_and_rename(descriptor: int, temporary: str, target: str, size: int) -> None:
    """Give a written file its name if it has `size` bytes; OSError otherwise, and the target is as it was.

    The descriptor is closed in any case, and before that: network file systems tell then what did not arrive.
    """
    try:
        found = os.fstat(descriptor).st_size
        if found != size:
            raise OSError(errno.EIO, f"{size} bytes were written and the file has {found}")
    finally:
        os.close(descriptor)
    os.replace(temporary, target)


def sync_file_system(descriptor: int) -> None:
    """Have the disk take all that was written.

    OSError where it did not take something that was written to the file system of `descriptor` since that was opened;
    beside Linux that does not show.
    """
    import ctypes  # Takes milliseconds, which only those spend who write a lot.

    os.sync()
    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if sync is not None and sync(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


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
