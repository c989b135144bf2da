# SPDX-License-Identifier: Apache-2.0
"""A store in a directory of this machine."""

import asyncio
import hashlib
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from mlflow_sftp.errors import StorageError
from mlflow_sftp.stores.base import ENTRY_KINDS, EntryKind, FileProblemError, Item, OnUnreadable
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.transfer import local_files, temporary_names
from mlflow_sftp.transfer.block_transfer import SMALL_FILE
from mlflow_sftp.transfer.local_files import LocalDirectory, list_directory, read_block

# Slow work is done in the few threads of the interpreter's pool, whatever waits for them.
_MAX_CONCURRENT_FILES = 512
_CHUNK = 1 << 20


class LocalStore:
    """A directory of this machine."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.name = root

    def path(self, relative: str) -> str:
        return os.path.join(self.root, relative) if relative else self.root

    def max_concurrent_files(self) -> int:
        return _MAX_CONCURRENT_FILES

    async def walk(self, top: str, on_unreadable: OnUnreadable) -> AsyncIterator[list[Item]]:
        """Everything below `top`, directory by directory; links are followed, except back to above them."""
        unread = [LocalDirectory(self.path(top), top)]
        while unread:
            directory = unread.pop()
            try:
                listing = await asyncio.to_thread(list_directory, directory, with_status=True)
            except OSError as error:
                on_unreadable(directory.relative, f"cannot be listed: {error.strerror}")
                continue
            for path, reason in listing.unusable:
                on_unreadable(path, reason)
            unread.extend(listing.directories)
            yield [_item(item.relative, item.entry.stat()) for item in listing.items]

    async def make_directory(self, relative: str) -> None:
        try:
            await asyncio.to_thread(os.makedirs, self.path(relative), exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make the directory {self.path(relative)}: {error.strerror}"
            ) from error

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

    async def free_bytes(self) -> int | None:
        """What is free for this user where the store is or would be."""
        return await asyncio.to_thread(_free_bytes, Path(self.root))

    async def close(self) -> None:
        await asyncio.to_thread(os.sync)


def copy_local(source: str, target: str, limiter: RateLimiter, report: Callable[[int], None]) -> None:
    """Copy a file to a temporary name beside `target`, then rename it."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(target).with_name(temporary_names.temporary())
    try:
        with open(source, "rb") as reader, open(temporary, "xb") as writer:
            while chunk := reader.read(_CHUNK):
                time.sleep(limiter.delay(len(chunk)))
                writer.write(chunk)
                report(len(chunk))
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _item(path: str, status: os.stat_result) -> Item:
    if stat.S_ISDIR(status.st_mode):
        return Item(path, True, 0, "")
    # The inode's own time moves with every change, even where the modification time was set back.
    return Item(path, False, status.st_size, f"{status.st_ino}.{status.st_ctime_ns}")


async def _small_digest(path: str) -> tuple[int, str]:
    """Like `local_files.digest`, without the thread, which would cost more than a cached file itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = await read_block(descriptor, 0, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    return len(data), hashlib.sha256(data).hexdigest()


def _free_bytes(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _reason(error: OSError) -> str:
    return "it is gone" if isinstance(error, FileNotFoundError) else str(error.strerror)
