# SPDX-License-Identifier: Apache-2.0
"""From the server to local files: to a temporary name beside the target, then renamed over it.

What is taken is the file as the server described it when it was opened: the server is asked again at the end, on the
same handle, and what changed meanwhile is read once more or is an error.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import posixpath
import sys
from typing import NamedTuple

from mlflow_sftp.errors import IntegrityError, LocalError, UnreachableError
from mlflow_sftp.transfer import aside, checksum, local_files
from mlflow_sftp.transfer.block_transfer import SMALL_FILE, ParallelTransfer, sessions_opening
from mlflow_sftp.transfer.concurrency import for_each
from mlflow_sftp.transfer.handles import SessionHandles, living
from mlflow_sftp.transfer.listing import Entry, walk
from mlflow_sftp.transfer.lookup import complete_attributes, look_at_open_file
from mlflow_sftp.transfer.partial_file import PartialFile
from mlflow_sftp.transfer.progress import OnBytes, ignore_bytes
from mlflow_sftp.transfer.read_ahead import read_ahead
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.resume import RESUMABLE_FILE, unfinished_download
from mlflow_sftp.transfer.server_digest import server_digest
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.open_files import Place
from mlflow_sftp.wire.packets import (
    FX_FAILURE,
    READ,
    Attributes,
    BadAnswerError,
    SessionLostError,
    StatusError,
)
from mlflow_sftp.wire.session import SftpSession

# How often a small file that changes is read before that is given up, and a large one, of which that costs more.
_SMALL_READINGS, _LARGE_READINGS = 4, 2
# Blocks asked for at once where a file is read from its beginning to its end.
_BLOCKS_AHEAD = 16
_LARGEST_BLOCK = 256 << 10


async def get_tree(remote: Remote, source: str, target: str, on_bytes: OnBytes = ignore_bytes) -> None:
    """Download everything below the directory `source` into the local directory `target`, which is made."""
    _make_directory(remote, target)

    async def get(entry: Entry) -> None:
        destination = os.path.join(target, entry.path)
        if entry.is_directory:
            _make_directory(remote, destination)
        else:
            found = Attributes(entry.size, None, entry.mtime)
            await _get(remote, posixpath.join(source, entry.path), destination, found, on_bytes)

    await for_each(walk(remote, source), get, remote.connections.max_concurrent_files)


async def get_file(remote: Remote, source: str, target: str, on_bytes: OnBytes = ignore_bytes) -> None:
    """Download one file; the local directory must exist."""

    async def look(session: SftpSession) -> Attributes:
        check = remote.containment_check(session, source)
        answer = session.stat(encode(source))
        await check()
        found = await aside.stat(session, encode(source), answer)
        attributes = await complete_attributes(session, encode(source), found)
        if attributes.is_directory:
            raise StatusError(FX_FAILURE, "it is a directory")
        return attributes

    found = await remote.attempt(f"download {source}", look, before_handshake=True)
    await _get(remote, source, target, found, on_bytes)


async def get_bytes(remote: Remote, source: str, size: int) -> bytes:
    """Return the contents of a small file of about `size` bytes, whole; IntegrityError where it is no small file."""
    found = Attributes(size)
    contents = _Contents(remote, source)
    for _ in range(_SMALL_READINGS):
        async with (
            remote.connections.open_files.place() as place,
            remote.connections.memory_budget.holding(max(0, (found.size or 0) - size)),
        ):
            data, found = await contents.read(found, place)
        if data is not None:
            return data
        if found.size is None or found.size > SMALL_FILE:
            break
    raise _changed(remote, source)


async def _get(remote: Remote, source: str, target: str, found: Attributes, on_bytes: OnBytes) -> None:
    try:
        contents = _Contents(remote, source)
        for _ in range(_SMALL_READINGS):
            if found.size is None or found.size > SMALL_FILE:
                async with (
                    remote.connections.large_files,
                    sessions_opening(remote.connections, found.size or 0),
                    remote.connections.open_files.place() as place,
                ):
                    await _get_large(remote, source, target, on_bytes, place)
                return
            async with contextlib.AsyncExitStack() as held:
                place = await held.enter_async_context(remote.connections.open_files.place())
                await held.enter_async_context(remote.connections.memory_budget.holding(found.size))
                data, found = await contents.read(found, place)
                if data is None:
                    continue
                size = len(data)
                with PartialFile.new(target) as file:
                    file.write(data, 0)
                    del data
                    # Comparing takes another place, for which others wait who hold one and want this memory.
                    await held.aclose()
                    await _verify(remote, source, file, size)
                    file.publish(size)
                on_bytes(size)
                return
        raise _changed(remote, source)
    except OSError as error:
        raise LocalError(
            f"download {source}", remote.name, f"{target} cannot be written: {error.strerror or error}"
        ) from error


class _Reading(NamedTuple):
    """What was read, None where that was not all of it, and what the server said of the file after that."""

    data: bytes | None
    after: Attributes


class _Contents:
    """A small file on the server, whole: read again where it changes, in order where the server needs that."""

    def __init__(self, remote: Remote, path: str) -> None:
        self._remote = remote
        self._traits = remote.connections.traits
        self._path = path
        self._earlier: tuple[int, bytes] | None = None

    async def read(self, found: Attributes, place: Place) -> _Reading:
        """Read the file that was `found` (before, so that a change shows); no data where it is another by now.

        What it is now is then to be given to the next call. A file that only grows is taken as it was.
        """
        size = found.size or 0
        data, after = await self._remote.attempt(
            f"download {self._path}", lambda session: self._read(session, size, place)
        )
        if data is None:
            return _Reading(None, after)
        same_time = None in (after.mtime, found.mtime) or after.mtime == found.mtime
        if after.size in (size, None) and same_time:
            return _Reading(data, after)
        if self._earlier is not None and len(data) >= self._earlier[0]:
            beginning = data[: self._earlier[0]]
            if hashlib.sha256(beginning).digest() == self._earlier[1]:
                return _Reading(beginning, after)
        self._earlier = len(data), hashlib.sha256(data).digest()
        return _Reading(None, after)

    async def _read(self, session: SftpSession, size: int, place: Place) -> _Reading:
        async def open_file() -> bytes:
            return await place.open(lambda: session.open(encode(self._path), READ))

        handle = await open_file()
        if self._traits.keeps_order is False or self._traits.answers_fstat_of_read is False:
            return await self._read_in_order(session, handle, size)
        try:
            data, after = await self._read_in_one_flight(session, handle, size)
        except StatusError as error:
            # Perhaps only because CLOSE has overtaken what was sent before it.
            reading = await self._read_in_order(session, await open_file(), size)
            if self._is_about_order(error):
                self._traits.keeps_order = False
            return reading
        if data is None or after.size is None or len(data) > after.size == 0:
            return await self._read_in_order(session, await open_file(), size)
        return _Reading(data, after)

    def _is_about_order(self, error: StatusError) -> bool:
        """Tell whether a refusal of what was granted in order came of the order."""
        return self._traits.answers_fstat_of_read is not False and not isinstance(error, BadAnswerError)

    async def _read_in_one_flight(self, session: SftpSession, handle: bytes, size: int) -> _Reading:
        block = session.block
        reads = [session.read(handle, at, min(block, size - at)) for at in range(0, size, block)]
        attributes = session.fstat(handle)
        closed = session.close_handle(handle)
        try:
            data = b"".join([await read for read in reads])
            after = await attributes
        except StatusError:
            # Not before that may the file be opened again: some servers have few handles.
            with contextlib.suppress(StatusError):
                await closed
            raise
        await closed
        # None is longer than asked for, so that none is shorter if the sum is right.
        return _Reading(data if len(data) == size else None, after)

    async def _read_in_order(self, session: SftpSession, handle: bytes, size: int) -> _Reading:
        """Read, then ask, then close; no data of a file that is shorter or, where nobody tells its size, longer."""
        try:
            data = bytearray()
            async for _, part in read_ahead(session, handle, 0, size, blocks=_BLOCKS_AHEAD):
                data += part
            after = await look_at_open_file(session, self._traits, handle, self._path)
            whole = len(data) == size
            if whole and after.size is None:
                whole = not await session.read(handle, size, 1)
        except BaseException:
            session.close_handle(handle)
            raise
        with contextlib.suppress(StatusError):
            await session.close_handle(handle)
        return _Reading(bytes(data) if whole else None, after)


async def _verify(remote: Remote, source: str, file: PartialFile, size: int) -> None:
    """Compare, where that is wanted, the sum of what lies on the local disk with the server's."""
    here = await checksum.file_digest(remote, file.descriptor, size)
    await checksum.verify_contents(remote, here, source, size)


async def _get_large(remote: Remote, source: str, target: str, on_bytes: OnBytes, place: Place) -> None:
    reader = _BlockReader(remote, source, place)
    try:
        found = await reader.open()
        if found.size is None:
            reader.close()
            await _get_to_end(remote, source, target, on_bytes, place)
            return
        with _partial_file(remote, source, target, found) as file:
            try:
                await _get_blocks(remote, reader, file, on_bytes)
                reader.release()
                await _verify(remote, source, file, reader.size)
                file.publish(reader.size)
            except (UnreachableError, asyncio.CancelledError):
                if not reader.is_doubtful:
                    file.keep_if_resumable()
                raise
    finally:
        reader.close()


def _partial_file(remote: Remote, source: str, target: str, found: Attributes) -> PartialFile:
    if found.size is None or found.mtime is None or found.size < RESUMABLE_FILE:
        return PartialFile.new(target)
    return PartialFile.resumable(target, remote.name, source, found.size, found.mtime, target)


async def _get_blocks(remote: Remote, reader: "_BlockReader", file: PartialFile, on_bytes: OnBytes) -> None:
    """Bring into `file` what the server has, as it was when `reader` opened it; IntegrityError if it changes."""
    block = (await remote.connections.session()).block

    async def take(offset: int, length: int, session: SftpSession) -> None:
        file.write(await reader.read(offset, length, session), offset)

    try:
        begin = await unfinished_download(file.descriptor, reader.read)
    except _FileChangedError:
        begin = 0
    earlier: str | None = None
    for _ in range(_LARGE_READINGS):
        os.ftruncate(file.descriptor, begin)
        _require_space(file.descriptor, reader.size - begin)
        on_bytes(begin)
        with contextlib.suppress(_FileChangedError):
            connections, end = remote.connections, reader.size
            await ParallelTransfer(connections, begin, end, block, take, reader.open_in, on_bytes).run()
            if await _is_proved(remote, reader, file, begin):
                return
            # Some tell another time whenever they are asked; what was read twice and is the same did not change.
            before, earlier = earlier, await local_files.sha256(file.descriptor, reader.size)
            if before == earlier and not reader.is_doubtful:
                return
        begin, on_bytes = 0, ignore_bytes
        await reader.open_again()
    raise reader.changed()


async def _is_proved(remote: Remote, reader: "_BlockReader", file: PartialFile, begin: int) -> bool:
    """Tell whether what was read is the file as it was when it was opened."""
    now = await reader.look_again()
    if reader.is_doubtful:
        return False
    if now == reader.found:
        return await _is_resumed_well(remote, reader, file, begin)
    has_grown = now.size is not None and now.size > reader.size
    return has_grown and await _has_only_grown(remote, reader, file)


async def _is_resumed_well(remote: Remote, reader: "_BlockReader", file: PartialFile, begin: int) -> bool:
    """Tell whether the sum is right of a file that was taken up again, as far as the server can tell it."""
    if not begin:
        return True
    here = await local_files.sha256(file.descriptor, reader.size)
    reader.release()  # It may take another to ask.
    if await server_digest(remote, reader.path, reader.size) in (None, here):
        return True
    return here == await checksum.sha256(remote, reader.path, here, reader.size)


async def _has_only_grown(remote: Remote, reader: "_BlockReader", file: PartialFile) -> bool:
    """Tell whether what was taken is still the beginning of the file, read once more through one handle."""

    async def compare(session: SftpSession) -> bool:
        handle = await session.open(encode(reader.path), READ)
        compared = 0
        try:
            async for offset, there in read_ahead(session, handle, 0, reader.size, blocks=_BLOCKS_AHEAD):
                if there != await local_files.read_block(file.descriptor, offset, len(there)):
                    return False
                compared = offset + len(there)
        finally:
            session.close_handle(handle)
        return compared == reader.size

    async with remote.connections.memory_budget.holding(_BLOCKS_AHEAD * _LARGEST_BLOCK):
        return await remote.attempt(f"download {reader.path}", compare)


def _require_space(descriptor: int, size: int) -> None:
    """OSError where the disk has no room: better now than when it is full."""
    disk = os.fstatvfs(descriptor)
    free = disk.f_bavail * disk.f_frsize
    if size > free:
        raise OSError(errno.ENOSPC, f"{size} bytes are needed and {free} are free")


async def _get_to_end(remote: Remote, source: str, target: str, on_bytes: OnBytes, place: Place) -> None:
    """Download a file of which the server tells no size: until it says that this was all."""
    reached = 0

    async def get(session: SftpSession, file: PartialFile) -> int:
        nonlocal reached
        handle = await place.open(lambda: session.open(encode(source), READ))
        size = 0
        try:
            async for offset, data in read_ahead(session, handle, 0, sys.maxsize, blocks=_BLOCKS_AHEAD):
                file.write(data, offset)
                size = offset + len(data)
                reached = max(reached, size)
        finally:
            session.close_handle(handle)
        return size

    with PartialFile.new(target) as file:
        async with remote.connections.memory_budget.holding(_BLOCKS_AHEAD * _LARGEST_BLOCK):
            size = await remote.attempt(
                f"download {source}", lambda session: get(session, file), progress=lambda: reached
            )
        os.ftruncate(file.descriptor, size)
        place.give_back()
        await _verify(remote, source, file, size)
        file.publish(size)
    on_bytes(size)


class _FileChangedError(Exception):
    """The file is not what it was when it was opened."""


class _BlockReader:
    """One file on the server, read over one or more sessions, that must not change meanwhile.

    `found` is what the server said when it was opened; `size` of it is what is read. _FileChangedError where it shows
    that it is another by now.
    """

    def __init__(self, remote: Remote, path: str, place: Place) -> None:
        self.path = path
        self.found = Attributes()
        self._place = place
        self.size = 0
        self._remote = remote
        self._operation = f"download {path}"
        self._handles = self._new_handles()
        self._used: set[SftpSession] = set()
        self._received = 0

    @property
    def is_doubtful(self) -> bool:
        """Whether a session in which it was read ended in a way that makes all it brought doubtful."""
        return any(session.was_defective for session in self._used)

    async def open(self) -> Attributes:
        """Open the file, take it for what it is now, and return that."""

        async def look(session: SftpSession) -> Attributes:
            handle = await self._place.open(lambda: session.open(encode(self.path), READ))
            opened: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            opened.set_result(handle)
            self._handles.add(session, opened)
            self._used.add(session)
            return await self._look(session, handle)

        await self._place.take()
        self.found = await self._remote.attempt(self._operation, look)
        self.size = self.found.size or 0
        return self.found

    async def open_again(self) -> None:
        """Take the file for what it is now, not for what it was; IntegrityError where it has no size any more."""
        self.close()
        if (await self.open()).size is None:
            raise self.changed()

    async def open_in(self, session: SftpSession) -> None:
        """Open the file in one more session, where it is not open yet."""
        await self._handles.get(session)

    async def read(self, offset: int, length: int, preferred: SftpSession | None = None) -> bytes:
        """Return exactly these bytes, in the session `preferred` while that lives."""

        async def get(session: SftpSession) -> bytes:
            used = living(preferred, session)
            handle = await self._handles.get(used)
            data = await used.read(handle, offset, length)
            while len(data) < length:
                part = await used.read(handle, offset + len(data), length - len(data))
                if not part:
                    raise _FileChangedError
                data += part
            return data

        data = await self._remote.attempt(self._operation, get, progress=lambda: self._received)
        self._received += length
        return data

    async def look_again(self) -> Attributes:
        """Return what the server says now of the file that was read, in every session that read it."""
        handles = self._handles

        async def look(session: SftpSession) -> Attributes:
            return await self._look(session, await handles.get(session))

        used = [session for session in self._used if session.alive]
        looking = await asyncio.gather(*(look(session) for session in used), return_exceptions=True)
        told = [answer for answer in looking if not isinstance(answer, SessionLostError)]
        for answer in told:
            if isinstance(answer, BaseException):
                raise answer
            if answer != self.found:
                return answer
        return self.found if told else await self._remote.attempt(self._operation, look)

    def close(self) -> None:
        """Close the file on the server, without waiting for it."""
        self._handles.close()
        self._handles = self._new_handles()
        self._used = set()

    def release(self) -> None:
        """Close the file and give its place back; `open_again` takes another."""
        self.close()
        self._place.give_back()

    def changed(self) -> IntegrityError:
        """The error for a file that did not stay what it was."""
        return _changed(self._remote, self.path)

    def _new_handles(self) -> SessionHandles:
        return SessionHandles(lambda session: asyncio.create_task(self._open_same(session)))

    async def _open_same(self, session: SftpSession) -> bytes:
        """Open the file in one more session; if it grew or has another time, that shows again at the end."""
        used, found = self._used, self.found
        handle = await session.open(encode(self.path), READ)
        now = await self._look(session, handle)
        if used is not self._used or (now.size or 0) < (found.size or 0):
            session.close_handle(handle)
            raise _FileChangedError
        used.add(session)
        return handle

    async def _look(self, session: SftpSession, handle: bytes) -> Attributes:
        traits = self._remote.connections.traits
        return (await look_at_open_file(session, traits, handle, self.path))._replace(mode=None)


def _changed(remote: Remote, path: str) -> IntegrityError:
    return IntegrityError(
        f"download {path}", remote.name, "the file on the server changed while it was read", "Try again."
    )


def _make_directory(remote: Remote, path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise LocalError(
            f"download to {path}", remote.name, f"the directory cannot be made: {error.strerror}"
        ) from error
