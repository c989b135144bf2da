# SPDX-License-Identifier: Apache-2.0
"""A store in a directory of this machine."""

import asyncio
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow_sftp.errors import StorageError
from mlflow_sftp.stores.base import ENTRY_KINDS, EntryKind, FileProblemError, Item, OnUnreadable
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.transfer import local_files, temporary_names
from mlflow_sftp.transfer.block_transfer import SMALL_FILE
from mlflow_sftp.transfer.local_files import LocalDirectory, list_directory, read_block
from mlflow_sftp.wire.packets import Space

# Slow work is done in the few threads of the interpreter's pool, whatever waits for them.
_MAX_CONCURRENT_FILES = 512
_CHUNK = 1 << 20
_DIRECTORIES_AT_ONCE, _ENTRIES_AT_ONCE = 64, 1000
# A kernel stamps what happens in one tick, at most this, with the same time.
_TICK_SECONDS = 0.02
_COARSE_NANOSECONDS, _COARSE_SECONDS = 10_000_000, 2
# What a system says of one name. Anything else (no space, quota, input/output error, read-only) is about the store.
_ABOUT_ONE_FILE = {
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EINVAL,
    errno.ELOOP,
    errno.EBUSY,
    errno.ETXTBSY,
    errno.EFBIG,
}


class LocalStore:
    """A directory of this machine."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.name = root
        self._written: int | None = None

    def path(self, relative: str) -> str:
        return os.path.join(self.root, relative) if relative else self.root

    def begin_writing(self) -> None:
        """Have errors of the disk from now on reported by `close`."""
        if self._written is None:
            with write_errors(self.root):
                self._written = os.open(_existing(self.root), os.O_RDONLY)

    def max_concurrent_files(self) -> int:
        return _MAX_CONCURRENT_FILES

    async def walk(
        self, top: str, on_unreadable: OnUnreadable, *, recursive: bool = True
    ) -> AsyncGenerator[list[Item]]:
        """Everything below `top`, or right in it; links are followed, except back to directories above them."""
        unread = [LocalDirectory(self.path(top), top)]
        while unread:
            found, unusable = await asyncio.to_thread(_list_some, unread, recursive)
            for path, reason in unusable:
                on_unreadable(path, reason)
            yield found

    async def temporary_files(self, on_unreadable: OnUnreadable) -> AsyncIterator[list[Item]]:
        """Temporary files of transfers, directory by directory; links are not followed."""
        unread = [""]
        while unread:
            directory = unread.pop()
            found, below = await self._entries_in(directory, on_unreadable, temporary_names.is_temporary)
            unread.extend(below)
            yield found

    async def entries(
        self, top: str, on_unreadable: OnUnreadable, *, recursive: bool = True
    ) -> AsyncIterator[list[Item]]:
        """Everything below `top`, or right in it, as it is: links as themselves, and temporary files too."""
        unread = [top]
        while unread:
            found, below = await self._entries_in(unread.pop(), on_unreadable)
            if recursive:
                unread.extend(below)
            yield [*(Item(path, True, 0, "") for path in below), *found]

    async def _entries_in(
        self, directory: str, on_unreadable: OnUnreadable, wanted: Callable[[bytes], bool] = lambda _: True
    ) -> tuple[list[Item], list[str]]:
        """Files of a directory that are wanted, by their names, and the directories in it."""
        try:
            return await asyncio.to_thread(self._scan, directory, wanted)
        except OSError as error:
            on_unreadable(directory, f"cannot be listed: {error.strerror}")
            return [], []

    def _scan(self, directory: str, wanted: Callable[[bytes], bool]) -> tuple[list[Item], list[str]]:
        found, below = [], []
        with os.scandir(self.path(directory)) as entries:
            for entry in entries:
                path = os.path.join(directory, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                elif wanted(os.fsencode(entry.name)):
                    found.append(_item(path, entry.stat(follow_symlinks=False)))
        return found, below

    async def look(self, relative: str) -> Item | None:
        """What a name stands for now, a link for itself; None for nothing."""
        with _read_errors(self.path(relative)):
            try:
                return _item(relative, await asyncio.to_thread(os.lstat, self.path(relative)))
            except (FileNotFoundError, NotADirectoryError):
                return None

    async def make_directory(self, relative: str) -> None:
        with write_errors(self.path(relative)):
            await asyncio.to_thread(os.makedirs, self.path(relative), exist_ok=True)

    async def exists(self) -> bool:
        return await asyncio.to_thread(os.path.isdir, self.root)

    async def file(self) -> Item | None:
        """The store itself where it is a file and no directory."""
        if not await asyncio.to_thread(os.path.isfile, self.root):
            return None
        return _item("", await asyncio.to_thread(os.stat, self.root))

    async def digest(self, relative: str, size: int) -> tuple[int, str]:
        """Size and SHA-256 of a file as they are now; `size` is what a listing said."""
        try:
            if size <= SMALL_FILE:
                return await _small_digest(self.path(relative))
            return await asyncio.to_thread(local_files.digest, self.path(relative))
        except OSError as error:
            raise FileProblemError(_reason(error)) from error

    async def digest_of_beginning(self, relative: str, size: int) -> str | None:
        """SHA-256 of the first `size` bytes of a file; None where it has fewer."""
        with _read_errors(self.path(relative)):
            found, digest = await asyncio.to_thread(_digest_of_beginning, self.path(relative), size)
        return digest if found == size else None

    async def read(self, relative: str, size: int) -> bytes:
        """The contents of a small file."""
        try:
            return await asyncio.to_thread(Path(self.path(relative)).read_bytes)
        except OSError as error:
            raise FileProblemError(_reason(error)) from error

    async def move(self, relative: str, target: str) -> None:
        """Rename a file or directory within the store; its new directory is made."""
        try:
            await asyncio.to_thread(os.makedirs, os.path.dirname(self.path(target)), exist_ok=True)
            await asyncio.to_thread(os.rename, self.path(relative), self.path(target))
        except OSError as error:
            raise StorageError(f"cannot move {self.path(relative)}: {error.strerror}") from error

    async def kind(self, relative: str) -> EntryKind | None:
        """What has this name, a link for itself; None for nothing."""
        try:
            status = await asyncio.to_thread(os.lstat, self.path(relative))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise FileProblemError(_reason(error)) from error
        return ENTRY_KINDS.get(stat.S_IFMT(status.st_mode), "other")

    async def remove_file(self, relative: str) -> None:
        """Delete a file; nothing there is no error."""
        try:
            await asyncio.to_thread(Path(self.path(relative)).unlink, missing_ok=True)
        except OSError as error:
            raise FileProblemError(f"cannot be deleted: {error.strerror}") from error

    async def remove_directory(self, relative: str) -> bool:
        """Remove a directory if it is empty and that is allowed; tells whether it is gone now."""
        try:
            await asyncio.to_thread(os.rmdir, self.path(relative))
        except OSError:
            return False
        return True

    async def space(self) -> Space | None:
        """The space where the store is or would be."""
        return await asyncio.to_thread(_space, self.root)

    async def settled_at(self) -> float:
        """A time just past by the store's clock: what changed before has another stamp if it changes again."""
        return await asyncio.to_thread(_clock, self.root) - _TICK_SECONDS

    async def close(self) -> None:
        """Wait until the disk has what was written; StorageError where it has not."""
        if self._written is None:
            return
        try:
            with write_errors(self.root):
                await asyncio.to_thread(local_files.sync_file_system, self._written)
        finally:
            os.close(self._written)
            self._written = None


def copy_local(source: str, target: str, limiter: RateLimiter, report: Callable[[int], None]) -> None:
    """Copy a file, as long as it is when it is opened, to a temporary name beside `target`, then rename it.

    FileProblemError where it is about this file, StorageError where the target takes no files.
    """
    with _reading(source) as reader:
        opened = os.fstat(reader)
        temporary = os.path.join(os.path.dirname(target), temporary_names.temporary())
        try:
            with write_errors(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                writer = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                _copy_bytes(reader, writer, opened.st_size, source, target, limiter, report)
                _require_one_state(reader, opened, writer, source)
            except BaseException:
                os.close(writer)
                raise
            with write_errors(target):
                local_files.close_and_rename(writer, temporary, target, opened.st_size)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _list_some(unread: list[LocalDirectory], recursive: bool) -> tuple[list[Item], list[tuple[str, str]]]:
    """Entries of the last of these directories and those below, and what is unusable; the rest stays to be listed."""
    found: list[Item] = []
    unusable: list[tuple[str, str]] = []
    # A change of threads costs more than listing a directory.
    for _ in range(_DIRECTORIES_AT_ONCE):
        if not unread or len(found) > _ENTRIES_AT_ONCE:
            break
        directory = unread.pop()
        try:
            listing = list_directory(directory, with_status=True)
        except OSError as error:
            unusable.append((directory.relative, f"cannot be listed: {error.strerror}"))
            continue
        unusable += listing.unusable
        if recursive:
            unread.extend(listing.directories)
        found += [_item(item.relative, item.entry.stat()) for item in listing.items]
    return found, unusable


def _copy_bytes(
    reader: int,
    writer: int,
    size: int,
    source: str,
    target: str,
    limiter: RateLimiter,
    report: Callable[[int], None],
) -> None:
    offset = 0
    while offset < size:
        with _read_errors(source):
            chunk = os.pread(reader, min(_CHUNK, size - offset), offset)
        if not chunk:
            raise FileProblemError(f"{source} became shorter while it was read")
        time.sleep(limiter.delay(len(chunk)))
        with write_errors(target):
            local_files.write_all(writer, chunk, offset)
        offset += len(chunk)
        report(len(chunk))


def _require_one_state(reader: int, opened: os.stat_result, writer: int, source: str) -> None:
    """What was copied must be one state of the source; a log that only grew begins with it."""
    try:
        with _read_errors(source):
            if not local_files.has_grown(reader, opened):
                return
            if local_files.digest(reader, opened.st_size) == local_files.digest(writer, opened.st_size):
                return
    except local_files.FileChangedError:
        pass
    raise FileProblemError(f"{source} changed while it was read")


@contextmanager
def write_errors(path: str) -> Iterator[None]:
    """Raise what the system says of a local write as FileProblemError, or StorageError where it stops every write."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: str, error: OSError) -> StorageError:
    """See `write_errors`."""
    kind = FileProblemError if error.errno in _ABOUT_ONE_FILE else StorageError
    return kind(f"cannot write {path}: {error.strerror or error}")


@contextmanager
def _read_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileProblemError(f"{path}: {_reason(error)}") from error


@contextmanager
def _reading(path: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise FileProblemError(_reason(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _item(path: str, status: os.stat_result) -> Item:
    if stat.S_ISDIR(status.st_mode):
        return Item(path, True, 0, "")
    # The inode's own time moves with every change, even where the modification time was set back.
    nanoseconds = status.st_ctime_ns
    # Some file systems keep no fractions, or even seconds only.
    unseen = 0 if nanoseconds % _COARSE_NANOSECONDS else _COARSE_SECONDS
    return Item(path, False, status.st_size, f"{status.st_ino}.{nanoseconds}", nanoseconds / 1e9 + unseen)


async def _small_digest(path: str) -> tuple[int, str]:
    """Like `local_files.digest`, without the thread, which would cost more than a cached file itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = await read_block(descriptor, 0, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    return len(data), hashlib.sha256(data).hexdigest()


def _digest_of_beginning(path: str, size: int) -> tuple[int, str]:
    with open(path, "rb", buffering=0) as file:
        return local_files.digest(file.fileno(), size)


def _clock(root: str) -> float:
    """Now, in seconds, by the clock that stamps files here (of an NFS server that is the server's)."""
    try:
        directory = root if os.path.isdir(root) else os.path.dirname(root)
        with tempfile.TemporaryFile(dir=directory) as file:
            return os.fstat(file.fileno()).st_ctime
    except OSError:
        return time.time()


def _space(path: str) -> Space:
    usage = shutil.disk_usage(_existing(path))
    return Space(usage.free, usage.total)


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _reason(error: OSError) -> str:
    return "it is gone" if isinstance(error, FileNotFoundError) else str(error.strerror)
