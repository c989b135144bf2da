# SPDX-License-Identifier: Apache-2.0
"""From local files and streams to the server: to a temporary name beside the target, then renamed over it.

A small file is one unit: read, sent, and sent again as a whole after a drop. A large file or a stream goes in
blocks (`BlockWriter`), each of which is sent again by itself.
"""

import asyncio
import hashlib
import logging
import os
import posixpath
import socket
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

from mlflow_sftp.errors import ConnectionDroppedError, IntegrityError, LocalError
from mlflow_sftp.transfer import checksum, local_files, temporary_names
from mlflow_sftp.transfer.block_transfer import SMALL_FILE, ParallelTransfer, sessions_opening
from mlflow_sftp.transfer.block_writer import BlockWriter, DroppedInOrderError
from mlflow_sftp.transfer.concurrency import for_each, iterate
from mlflow_sftp.transfer.directories import begin_directory, create_file, make_directory
from mlflow_sftp.transfer.durability import names_the_disk
from mlflow_sftp.transfer.progress import HighWaterMark, OnBytes, ignore_bytes
from mlflow_sftp.transfer.publish import publish
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.resume import RESUMABLE_FILE, unfinished_upload
from mlflow_sftp.transfer.small_file import write_small_file
from mlflow_sftp.transfer.ways_of_writing import (
    Flight,
    Trait,
    UnsuitableWayError,
    WayOfWriting,
    first_flight,
    learn_from_flight,
    may_name_resumable,
    next_flight,
    next_way,
    way_of_writing,
)
from mlflow_sftp.uri import decode, encode
from mlflow_sftp.wire.open_files import Place
from mlflow_sftp.wire.packets import TRUNCATE, SessionLostError, StatusError
from mlflow_sftp.wire.session import SftpSession

_log = logging.getLogger(__name__)

# How often a file that can only be written in order begins again after a drop.
_MOST_DROPS = 5


async def put_tree(remote: Remote, source: str, target: str, on_bytes: OnBytes = ignore_bytes) -> None:
    """Upload everything below the local directory `source` into the directory `target`."""
    await make_directory(remote, target)

    async def put(item: local_files.LocalItem) -> None:
        destination = posixpath.join(target, item.relative)
        if item.is_directory:
            await make_directory(remote, destination)
        else:
            await put_file(remote, item.path, destination, on_bytes)

    try:
        await for_each(iterate(local_files.walk(source)), put, remote.connections.max_concurrent_files)
    except OSError as error:
        raise _unreadable(error.filename or source, remote, error) from error


async def put_file(remote: Remote, source: str, target: str, on_bytes: OnBytes = ignore_bytes) -> None:
    """Upload one local file as `target`, making the directories above it.

    It is taken as long as it is when it is opened. IntegrityError if it is rewritten while it is read, twice.
    """
    try:
        await _put_file(remote, source, target, on_bytes)
    except local_files.FileChangedError:
        try:
            await _put_file(remote, source, target, on_bytes)
        except local_files.FileChangedError as error:
            raise IntegrityError(
                f"upload {source}",
                remote.name,
                "the local file changed while it was read",
                "Try again once nothing writes to it.",
            ) from error


async def _put_file(remote: Remote, source: str, target: str, on_bytes: OnBytes) -> None:
    try:
        descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise _unreadable(source, remote, error) from error
    try:
        status = os.fstat(descriptor)
        if status.st_size <= SMALL_FILE:
            async with (
                remote.connections.open_files.place() as place,
                remote.connections.memory_budget.holding(status.st_size),
            ):
                data = await local_files.read_small(descriptor, status)
                _require_size(source, remote, len(data), status.st_size)
                expected = checksum.hex_digest(remote, data)
                await _put_bytes(remote, data, target, place)
                del data
            # Comparing takes another place, for which others wait who hold one and want this memory.
            await checksum.verify_contents(remote, expected, target, status.st_size)
        else:
            in_any_order = way_of_writing(remote.connections.traits) is WayOfWriting.ANY_ORDER
            in_many_sessions = status.st_size if in_any_order else 0
            async with remote.connections.large_files, sessions_opening(remote.connections, in_many_sessions):
                await _put_blocks(remote, source, descriptor, status, target, on_bytes)
    except OSError as error:
        raise _unreadable(source, remote, error) from error
    finally:
        os.close(descriptor)
    on_bytes(status.st_size if status.st_size <= SMALL_FILE else 0)


async def _put_bytes(remote: Remote, data: bytes | memoryview, target: str, place: Place) -> None:
    """Make `target` a file of exactly `data`: in full or not at all."""
    directory = posixpath.dirname(target)
    traits = remote.connections.traits
    making = begin_directory(remote, directory)
    if making is not None:
        await asyncio.sleep(0)  # Its requests go first, those that follow travel with them.
    abandoned: list[bytes] = []

    async def put(session: SftpSession) -> None:
        # No name is used twice: what a lost session had of it may yet be written, late.
        while abandoned:
            session.remove(abandoned.pop())
        flight = first_flight(traits)
        while not await put_in(session, flight):
            flight = next_flight(flight) or flight

    async def put_in(session: SftpSession, flight: Flight) -> bool:
        """Tell whether that worked; where no other way is left, raise what went wrong."""
        temporary = encode(posixpath.join(directory, temporary_names.temporary()))
        try:
            handle = await place.open(lambda: _create_meanwhile(remote, session, temporary, making))
            try:
                await write_small_file(remote, session, temporary, handle, data, flight)
            except StatusError as error:
                if next_flight(flight) is None or names_the_disk(error):
                    raise
                session.remove(temporary)
                return False
            if flight is not first_flight(traits):
                learn_from_flight(traits, flight)
            await publish(session, temporary, encode(target))
        except SessionLostError:
            abandoned.append(temporary)
            raise
        except BaseException:
            session.remove(temporary)
            raise
        return True

    await remote.attempt(f"upload {target}", put, needs=len(data), before_handshake=True)


async def put_stream(remote: Remote, chunks: AsyncIterable[bytes], target: str) -> None:
    """Make `target` a file of what the chunks hold, without keeping more of them than the memory budget.

    What came once does not come again: where the server cannot continue a file after a drop, or loses what it
    acknowledged, that is an error.
    """
    await make_directory(remote, posixpath.dirname(target))
    digest = hashlib.sha256()
    way = way_of_writing(remote.connections.traits)

    async def expected() -> str:
        return digest.hexdigest()

    try:
        async with BlockWriter(remote, target, temporary_names.temporary(), way) as writer:
            await writer.create()
            size = 0
            async for offset, block in _blocks(chunks, writer.block):
                digest.update(block)
                if way is WayOfWriting.ONE_BY_ONE:
                    await writer.write(offset, block)
                else:
                    await writer.submit(offset, block)
                size = offset + len(block)
            await writer.commit(size, expected, compare=checksum.is_enabled(remote))
    except DroppedInOrderError:
        raise _dropped(remote, target, "the server cannot continue an unfinished file") from None
    except UnsuitableWayError as unsuitable:
        if unsuitable.trait == "opens_twice":
            raise _dropped(remote, target, unsuitable.error.seen) from unsuitable
        raise unsuitable.error from unsuitable


@dataclass
class _LocalFile:
    """A large local file that is uploaded; it is open as `descriptor`."""

    remote: Remote
    source: str
    descriptor: int
    status: os.stat_result
    target: str

    @property
    def size(self) -> int:
        return self.status.st_size

    def origin(self) -> tuple[object, ...]:
        """What tells this file as it is now from all others."""
        status = self.status
        return (socket.gethostname(), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        data = await local_files.read_block(self.descriptor, offset, length)
        _require_size(self.source, self.remote, len(data), length)
        return data

    async def digest(self) -> str:
        """The SHA-256 of what is uploaded; FileChangedError where the file was rewritten since it was opened."""
        digest = await local_files.sha256(self.descriptor, self.size)
        self.has_grown()
        return digest

    def has_grown(self) -> bool:
        """Whether there is more now, which is not uploaded; FileChangedError where the file was rewritten."""
        return local_files.has_grown(self.descriptor, self.status)


async def _put_blocks(
    remote: Remote, source: str, descriptor: int, status: os.stat_result, target: str, on_bytes: OnBytes
) -> None:
    """Upload in the fastest way that the server takes; where that turns out not to do, once more in a slower one."""
    await make_directory(remote, posixpath.dirname(target))
    file = _LocalFile(remote, source, descriptor, status, target)
    progress = HighWaterMark(on_bytes)
    traits = remote.connections.traits
    way, distrusted, drops = way_of_writing(traits), checksum.is_enabled(remote), 0
    missing: Trait | None = None
    while True:
        progress.restart()
        try:
            await _put_in(way, file, progress, distrusted)
            break
        except DroppedInOrderError:
            drops += 1
            if drops == _MOST_DROPS:
                seen = f"it dropped {drops} times, and the server cannot continue an unfinished file"
                raise _dropped(remote, target, seen) from None
        except UnsuitableWayError as unsuitable:
            slower = next_way(way, unsuitable.trait)
            if slower is None:
                raise unsuitable.error from unsuitable
            _log.info("%s: %s Once more, in another way: %s", remote.name, unsuitable.error, slower.value)
            way, missing = slower, unsuitable.trait
            distrusted = distrusted or isinstance(unsuitable.error, IntegrityError)
    if missing is not None and getattr(traits, missing) is None:
        setattr(traits, missing, False)


async def _put_in(way: WayOfWriting, file: _LocalFile, on_bytes: OnBytes, distrusted: bool) -> None:
    """Upload in one way."""
    remote, size = file.remote, file.size
    name, begin, keep = temporary_names.temporary(), 0, False
    if (
        way is WayOfWriting.ANY_ORDER
        and size >= RESUMABLE_FILE
        and may_name_resumable(remote.connections.traits)
    ):
        resumable = temporary_names.resumable(remote.name, file.target, *file.origin())
        found = await unfinished_upload(
            remote, posixpath.join(posixpath.dirname(file.target), resumable), file.descriptor
        )
        if found is not None:
            name, begin, keep = resumable, found, True
            on_bytes(begin)
    async with BlockWriter(
        remote, file.target, name, way, size=size, keep=keep, begin=begin, distrusted=distrusted
    ) as writer:
        if not begin:
            await writer.create()
        if way is WayOfWriting.ANY_ORDER:
            await _send_in_any_order(writer, file, begin, on_bytes)
        else:
            await _send_in_order(writer, file, way, on_bytes)
        # A log, or rewritten and longer now: what was sent must be how it begins.
        await writer.commit(size, file.digest, compare=file.has_grown(), has_changed=file.has_grown)


async def _send_in_any_order(writer: BlockWriter, file: _LocalFile, begin: int, on_bytes: OnBytes) -> None:
    async def transfer(offset: int, length: int, session: SftpSession) -> None:
        await writer.write(offset, await file.read(offset, length), session)

    connections, block = file.remote.connections, writer.block
    await ParallelTransfer(connections, begin, file.size, block, transfer, writer.open_in, on_bytes).run()


async def _send_in_order(writer: BlockWriter, file: _LocalFile, way: WayOfWriting, on_bytes: OnBytes) -> None:
    for offset in range(0, file.size, writer.block):
        data = await file.read(offset, min(writer.block, file.size - offset))
        if way is WayOfWriting.IN_ORDER:
            await writer.submit(offset, data, on_bytes)
        else:
            await writer.write(offset, data)
            on_bytes(len(data))


async def _create_meanwhile(
    remote: Remote, session: SftpSession, path: bytes, making: "asyncio.Task[None] | None"
) -> bytes:
    """Create a file while its directory is still being made; return when that is known to lie below the root."""
    try:
        # TRUNCATE, though the name is new: object stores open a new file only so.
        handle = await create_file(remote, session, path, posixpath.dirname(decode(path)), TRUNCATE)
    except StatusError:
        if making is not None:
            await asyncio.shield(making)  # What went wrong there is the reason.
        raise
    if making is None:
        return handle
    try:
        await asyncio.shield(making)
    except BaseException:
        session.close_handle(handle)
        session.remove(path)
        raise
    return handle


async def _blocks(chunks: AsyncIterable[bytes], size: int) -> AsyncIterator[tuple[int, bytes]]:
    """Cut and join chunks of any size into blocks; yield each with its offset."""
    buffer, offset = bytearray(), 0
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= size:
            yield offset, bytes(buffer[:size])
            del buffer[:size]
            offset += size
    if buffer:
        yield offset, bytes(buffer)


def _dropped(remote: Remote, target: str, seen: str) -> ConnectionDroppedError:
    return ConnectionDroppedError(
        f"upload {target}", remote.name, f"the connection dropped: {seen}", "Send the file again."
    )


def _require_size(source: str, remote: Remote, got: int, expected: int) -> None:
    if got != expected:
        raise LocalError(f"upload {source}", remote.name, "the file became shorter while it was read")


def _unreadable(source: str, remote: Remote, error: OSError) -> LocalError:
    return LocalError(
        f"upload {source}", remote.name, f"the local file cannot be read: {error.strerror or error}"
    )
