# SPDX-License-Identifier: Apache-2.0
"""The two kinds of place a copy knows: a local directory, and a directory on an SFTP server."""

import asyncio
import dataclasses
import hashlib
import os
import posixpath
import shutil
import stat
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from mlflow_sftp.errors import (
    InvalidPathError,
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    SftpError,
)
from mlflow_sftp.location import Location, redact
from mlflow_sftp.operations.manifest import Item
from mlflow_sftp.settings import Settings
from mlflow_sftp.storage_errors import LocationError, StorageError
from mlflow_sftp.transfer import checksum, temporary_names
from mlflow_sftp.transfer.download import get_bytes
from mlflow_sftp.transfer.local_files import read_block
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.uri import SftpUri, encode
from mlflow_sftp.wire.connections import Connections
from mlflow_sftp.wire.flow_control import Budget, Flight
from mlflow_sftp.wire.session import FX_NO_SUCH_FILE, SftpSession, StatusError

Kind = Literal["file", "directory", "link", "other"]

# Told of what cannot be listed: relative path, reason.
Problem = Callable[[str, str], None]

_KINDS: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
_CHUNK = 1 << 20
_SMALL_FILE = 1 << 20
# Slow work is done in the few threads of the interpreter's pool, whatever waits for them.
_LOCAL_WIDTH = 512
# What a server says of one file; anything else concerns the place as a whole.
_UNREADABLE = (NotFoundError, PermissionRefusedError, InvalidPathError, ServerFailureError)


class FileProblemError(Exception):
    """One source file cannot be read; the copy goes on without it."""


class Limiter:
    """Spreads bytes over time; safe for threads. Without a rate it never delays."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def delay(self, size: int) -> float:
        """Return the seconds to wait before moving `size` bytes, and count them."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + size / self._rate
            return start - now


class _LimitedBudget(Budget):
    """The memory budget of a connection, through which every block goes, at a limited rate."""

    def __init__(self, capacity: int, limiter: Limiter) -> None:
        super().__init__(capacity)
        self._limiter = limiter

    async def take(self, size: int) -> int:
        taken = await super().take(size)
        await asyncio.sleep(self._limiter.delay(size))
        return taken


class LocalPlace:
    """A directory of this machine."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.name = root

    def path(self, relative: str) -> str:
        return os.path.join(self.root, relative) if relative else self.root

    def width(self) -> int:
        return _LOCAL_WIDTH

    async def walk(self, top: str, problem: Problem) -> AsyncIterator[list[Item]]:
        """Everything below `top`, directory by directory; links are followed, except back to above them."""
        unread: list[tuple[str, frozenset[tuple[int, int]]]] = [(top, frozenset())]
        while unread:
            directory, above = unread.pop()
            try:
                inode, found = await asyncio.to_thread(self._read_directory, directory)
            except OSError as error:
                problem(directory, f"cannot be listed: {error.strerror}")
                continue
            above |= {inode}
            items = []
            for path, status in found:
                reason = _unusable(status, above)
                if isinstance(status, OSError) or reason:
                    problem(path, reason)
                    continue
                items.append(_item(path, status))
                if items[-1].is_directory:
                    unread.append((path, above))
            yield items

    def _read_directory(
        self, directory: str
    ) -> tuple[tuple[int, int], list[tuple[str, os.stat_result | OSError]]]:
        """The directory's inode, and what each of its entries leads to."""
        status = os.stat(self.path(directory))
        with os.scandir(self.path(directory)) as entries:
            found = [
                (posixpath.join(directory, entry.name), _status(entry))
                for entry in entries
                if not temporary_names.is_temporary(os.fsencode(entry.name))
            ]
        return (status.st_dev, status.st_ino), found

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
        """The place itself where it is a file and no directory."""
        if not await asyncio.to_thread(os.path.isfile, self.root):
            return None
        return _item("", await asyncio.to_thread(os.stat, self.root))

    async def digest(self, relative: str, size: int) -> tuple[int, str]:
        """Size and SHA-256 of a file as they are now; `size` is what a listing said."""
        try:
            if size <= _SMALL_FILE:
                return await _small_digest(self.path(relative))
            return await asyncio.to_thread(_hash_file, self.path(relative))
        except OSError as error:
            raise FileProblemError(_reason(error)) from error

    async def read(self, relative: str, size: int) -> bytes:
        """The contents of a small file."""
        try:
            return await asyncio.to_thread(Path(self.path(relative)).read_bytes)
        except OSError as error:
            raise FileProblemError(_reason(error)) from error

    async def move(self, relative: str, target: str) -> None:
        """Rename a file or directory within the place; its new directory is made."""
        try:
            await asyncio.to_thread(os.makedirs, os.path.dirname(self.path(target)), exist_ok=True)
            await asyncio.to_thread(os.rename, self.path(relative), self.path(target))
        except OSError as error:
            raise StorageError(f"cannot move {self.path(relative)}: {error.strerror}") from error

    async def kind(self, relative: str) -> Kind | None:
        """What has this name, a link for itself; None for nothing."""
        try:
            status = await asyncio.to_thread(os.lstat, self.path(relative))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise FileProblemError(_reason(error)) from error
        return _KINDS.get(stat.S_IFMT(status.st_mode), "other")

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
        """What is free for this user where the place is or would be."""
        return await asyncio.to_thread(_free_bytes, Path(self.root))

    async def close(self) -> None:
        await asyncio.to_thread(os.sync)


class SftpPlace:
    """A directory on an SFTP server, over connections of its own."""

    def __init__(self, uri: str, limiter: Limiter, settings: Settings) -> None:
        parsed = SftpUri.parse(uri)
        self.root = parsed.path
        self.name = str(parsed)
        # What is copied is compared here, file by file; once is enough.
        settings = dataclasses.replace(settings, verify="size")
        self._connections = Connections(parsed.endpoint, settings)
        self._connections.budget = _LimitedBudget(settings.memory << 20, limiter)
        self._connections.flight = Flight(self._connections.budget)
        self._read_back = Budget(settings.memory << 20)
        self.remote = Remote(self._connections, self.root)

    def path(self, relative: str) -> str:
        return posixpath.join(self.root, relative) if relative else self.root

    def width(self) -> int:
        return self._connections.width()

    async def walk(self, top: str, problem: Problem) -> AsyncIterator[list[Item]]:
        """Everything below `top`; the server tells whole seconds, so a stamp is no finer."""

        def unreadable(directory: str, error: SftpError) -> None:
            problem(posixpath.join(top, directory), f"cannot be listed: {error.seen}")

        async for entry in self.remote.walk(self.path(top), unreadable=unreadable):
            path = posixpath.join(top, entry.path)
            yield [Item(path, entry.is_directory, entry.size, str(entry.mtime))]

    async def make_directory(self, relative: str) -> None:
        await self.remote.make_directory(self.path(relative))

    async def exists(self) -> bool:
        attributes = await self.remote.stat(self.root)
        return attributes is not None and attributes.is_directory

    async def file(self) -> Item | None:
        """The place itself where it is a file and no directory."""
        attributes = await self.remote.stat(self.root)
        if attributes is None or not attributes.is_file:
            return None
        return Item("", False, attributes.size or 0, str(attributes.mtime))

    async def digest(self, relative: str, size: int) -> tuple[int, str]:
        """Size and SHA-256 of a file as they are now; `size` is what a listing said."""
        path = self.path(relative)
        try:
            if size <= _SMALL_FILE:
                async with self._read_back.holding(size):
                    data = await get_bytes(self.remote, path, size)
                return len(data), hashlib.sha256(data).hexdigest()
            attributes = await self.remote.stat(path)
            if attributes is None:
                raise FileProblemError("it is gone")
            return attributes.size or 0, await checksum.sha256(self.remote, path)
        except _UNREADABLE as error:
            raise FileProblemError(error.seen) from error

    async def read(self, relative: str, size: int) -> bytes:
        """The contents of a small file."""
        try:
            return await get_bytes(self.remote, self.path(relative), size)
        except _UNREADABLE as error:
            raise FileProblemError(error.seen) from error

    async def move(self, relative: str, target: str) -> None:
        """Rename a file or directory within the place; its new directory is made."""
        old, new = self.path(relative), self.path(target)
        await self.remote.make_directory(posixpath.dirname(new))
        await self.remote.attempt(f"move {old}", lambda session: session.rename(encode(old), encode(new)))

    async def kind(self, relative: str) -> Kind | None:
        """What has this name, a link for itself; None for nothing."""
        path = self.path(relative)

        async def look(session: SftpSession) -> Kind | None:
            # ProFTPD answers LSTAT for the target of a link.
            attributes, link = session.lstat(encode(path)), session.readlink(encode(path))
            try:
                mode = (await attributes).mode or 0
            except StatusError as error:
                with suppress(StatusError):
                    await link
                if error.code == FX_NO_SUCH_FILE:
                    return None
                raise
            try:
                await link
            except StatusError:
                return _KINDS.get(stat.S_IFMT(mode), "other")
            return "link"

        try:
            return await self.remote.attempt(f"look at {path}", look)
        except _UNREADABLE as error:
            raise FileProblemError(error.seen) from error

    async def remove_file(self, relative: str) -> None:
        """Delete a file; nothing there is no error."""
        path = self.path(relative)
        try:
            await self.remote.attempt(f"delete {path}", lambda session: session.remove(encode(path)))
        except NotFoundError:
            return
        except _UNREADABLE as error:
            raise FileProblemError(f"cannot be deleted: {error.seen}") from error

    async def remove_directory(self, relative: str) -> bool:
        """Remove a directory if it is empty and that is allowed; tells whether it is gone now."""
        path = self.path(relative)
        self.remote.forget_directory(path)
        try:
            await self.remote.attempt(f"delete {path}", lambda session: session.rmdir(encode(path)))
        except _UNREADABLE:
            return False
        return True

    async def free_bytes(self) -> int | None:
        """What is free for this user where the place is or would be; None where the server does not tell."""
        path = self.root
        while path != "/" and await self.remote.stat(path) is None:
            path = posixpath.dirname(path)

        async def ask(session: SftpSession) -> int | None:
            if b"statvfs@openssh.com" not in session.extensions:
                return None
            name = encode(path)
            answer = await session.extended(b"statvfs@openssh.com", len(name).to_bytes(4) + name)
            fragment_size, available = struct.unpack_from(">8xQ16xQ", answer)
            return int(fragment_size * available)

        return await self.remote.attempt(f"ask for free space at {path}", ask)

    async def close(self) -> None:
        await self._connections.close()


Place = LocalPlace | SftpPlace


def open_place(location: str, limiter: Limiter, settings: Settings) -> Place:
    """A place from a plain path, a `file:` URI or an `sftp:` URI; LocationError for anything else."""
    parsed = Location.parse(location)
    if parsed.kind == "local":
        return LocalPlace(os.path.abspath(parsed.path))
    if parsed.kind == "sftp":
        return SftpPlace(location, limiter, settings)
    raise LocationError(f"{redact(location)}: name the server's own artifact root, a path or sftp:// URI")


def copy_local(source: str, target: str, limiter: Limiter, report: Callable[[int], None]) -> None:
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


def _status(entry: os.DirEntry[str]) -> os.stat_result | OSError:
    try:
        return entry.stat()
    except OSError as error:
        return error


def _unusable(status: os.stat_result | OSError, above: frozenset[tuple[int, int]]) -> str:
    """Why an entry of a directory cannot be copied, or ""."""
    if isinstance(status, OSError):
        return "leads nowhere" if isinstance(status, FileNotFoundError) else str(status.strerror)
    if stat.S_ISDIR(status.st_mode):
        return "leads back to a directory above it" if (status.st_dev, status.st_ino) in above else ""
    return "" if stat.S_ISREG(status.st_mode) else "is neither a file nor a directory"


def _item(path: str, status: os.stat_result) -> Item:
    if stat.S_ISDIR(status.st_mode):
        return Item(path, True, 0, "")
    # The inode's own time moves with every change, even where the modification time was set back.
    return Item(path, False, status.st_size, f"{status.st_ino}.{status.st_ctime_ns}")


async def _small_digest(path: str) -> tuple[int, str]:
    """Like `_hash_file`, without the thread, which would cost more than a cached file itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = await read_block(descriptor, 0, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    return len(data), hashlib.sha256(data).hexdigest()


def _hash_file(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as reader:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _free_bytes(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _reason(error: OSError) -> str:
    return "it is gone" if isinstance(error, FileNotFoundError) else str(error.strerror)
