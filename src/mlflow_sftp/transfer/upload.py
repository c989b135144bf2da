# SPDX-License-Identifier: Apache-2.0
"""From local files and streams to the server: to a temporary name beside the target, then renamed over it.

A small file is one unit: read, sent, and sent again as a whole after a drop. A large file or a stream goes in
blocks (`BlockWriter`), each of which is sent again by itself.
"""

import asyncio
import os
import posixpath
import socket
from collections.abc import AsyncIterable, AsyncIterator

from mlflow_sftp.errors import IntegrityError, LocalError, ServerFailureError, UnreachableError
from mlflow_sftp.transfer import checksum, local_files, temporary_names
from mlflow_sftp.transfer.block_transfer import SMALL_FILE, ParallelTransfer
from mlflow_sftp.transfer.concurrency import for_each, iterate
from mlflow_sftp.transfer.directories import begin_directory, forget_directory, make_directory
from mlflow_sftp.transfer.handles import SessionHandles, living
from mlflow_sftp.transfer.progress import OnBytes, ignore_bytes
from mlflow_sftp.transfer.publish import publish
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.resume import RESUMABLE_FILE, unfinished_upload
from mlflow_sftp.uri import decode, encode
from mlflow_sftp.wire.packets import (
    CREATE,
    EXCLUSIVE,
    FX_FAILURE,
    FX_NO_SUCH_FILE,
    TRUNCATE,
    WRITE,
    StatusError,
)
from mlflow_sftp.wire.session import SftpSession


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
            async with remote.connections.memory_budget.holding(status.st_size):
                data = await local_files.read_small(descriptor, status)
                _require_size(source, remote, len(data), status.st_size)
                await put_bytes(remote, data, target)
        else:
            async with remote.connections.large_files:
                await _put_blocks(remote, source, descriptor, status, target, on_bytes)
    except OSError as error:
        raise _unreadable(source, remote, error) from error
    finally:
        os.close(descriptor)
    on_bytes(status.st_size if status.st_size <= SMALL_FILE else 0)


async def put_bytes(remote: Remote, data: bytes | memoryview, target: str) -> None:
    """Make `target` a file of exactly `data`: in full or not at all."""
    directory = posixpath.dirname(target)
    temporary = encode(posixpath.join(directory, temporary_names.temporary()))

    making = begin_directory(remote, directory)
    if making is not None:
        await asyncio.sleep(0)  # Its requests go first, those that follow travel with them.

    async def put(session: SftpSession) -> None:
        handle = await _create_meanwhile(remote, session, temporary, making)
        try:
            size = await _write_and_close(session, handle, data)
            _require_complete(size, len(data))
            await publish(session, temporary, encode(target))
        except BaseException:
            session.remove(temporary)
            raise

    await remote.attempt(f"upload {target}", put, needs=len(data), before_handshake=True)
    await checksum.verify_contents(remote, checksum.hex_digest(remote, data), target)


async def put_stream(remote: Remote, chunks: AsyncIterable[bytes], target: str) -> None:
    """Make `target` a file of what the chunks hold, without keeping more of them than the memory budget."""
    await make_directory(remote, posixpath.dirname(target))
    digest = checksum.new_digest(remote)
    async with BlockWriter(remote, target, temporary_names.temporary()) as writer:
        await writer.create()
        size = 0
        async for offset, block in _blocks(chunks, writer.block):
            if digest is not None:
                digest.update(block)
            await writer.submit(offset, block)
            size = offset + len(block)
        await writer.commit(size)
    await checksum.verify_contents(remote, digest.hexdigest() if digest else None, target)


class BlockWriter:
    """A temporary file on the server, written block by block over one or more sessions, then published.

    A block is sent again until the server has it. Leaving the context before `commit` removes the file, unless
    `keep` is set and it was left because of an interrupt or a lost connection.
    """

    def __init__(self, remote: Remote, target: str, name: str, *, size: int = 1, keep: bool = False) -> None:
        self._remote = remote
        self._operation = f"upload {target}"
        self._target = encode(target)
        self._directory = posixpath.dirname(target)
        self._temporary = encode(posixpath.join(self._directory, name))
        self._handles = SessionHandles(lambda session: session.open(self._temporary, WRITE))
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._published = False
        self._keep = keep
        self._size = size
        self.block = 0
        self.written = 0

    async def __aenter__(self) -> "BlockWriter":
        self.block = (await self._remote.connections.session()).block
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._handles.close()
        interrupted = kind is not None and issubclass(kind, UnreachableError | asyncio.CancelledError)
        if not self._published and not (self._keep and interrupted):
            self._remote.connections.send_unawaited(lambda session: session.remove(self._temporary))

    async def create(self) -> None:
        """Create the file; where another upload has one of this name already, under a name of its own."""

        async def create(session: SftpSession) -> None:
            creating = asyncio.create_task(
                _create(self._remote, session, self._temporary, self._directory, EXCLUSIVE)
            )
            self._handles.add(session, creating)
            await creating

        try:
            await self._remote.attempt(self._operation, create)
        except ServerFailureError:
            self._handles.forget()
            self._keep = False
            self._temporary = encode(posixpath.join(self._directory, temporary_names.temporary()))
            await self._remote.attempt(self._operation, create)

    async def write(
        self, offset: int, data: bytes | memoryview, preferred: SftpSession | None = None
    ) -> None:
        """Write one block, in the session `preferred` while that lives, and return when the server has it."""

        async def put(session: SftpSession) -> None:
            used = living(preferred, session)
            await used.write(await self._handles.get(used), offset, data)

        await self._remote.attempt(
            self._operation, put, progress=lambda: self.written, needs=self._size - self.written
        )
        self.written += len(data)

    async def submit(self, offset: int, data: bytes) -> None:
        """Begin to write one block as soon as the link carries it; a failure is raised later."""
        if self._failure is not None:
            raise self._failure
        acknowledge = await self._remote.connections.congestion_window.acquire(len(data))
        task = asyncio.create_task(self.write(offset, data))
        self._tasks.add(task)

        def written(done: "asyncio.Task[None]") -> None:
            self._tasks.discard(done)
            error = None if done.cancelled() else done.exception()
            acknowledge(delivered=not done.cancelled() and error is None)
            self._failure = self._failure or error

        task.add_done_callback(written)

    async def commit(self, size: int) -> None:
        """Wait for all blocks, check the size on the server and give the file its name."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._failure is not None:
            raise self._failure

        async def finish(session: SftpSession) -> None:
            self._handles.close()
            try:
                _require_complete((await session.stat(self._temporary)).size, size)
                await publish(session, self._temporary, self._target)
            except StatusError as error:
                if error.code != FX_NO_SUCH_FILE:
                    raise
                # Published already: by this process before a drop took the answer, or by another that resumed.
                _require_complete((await session.stat(self._target)).size, size)

        await self._remote.attempt(self._operation, finish)
        self._published = True


async def _put_blocks(
    remote: Remote, source: str, descriptor: int, status: os.stat_result, target: str, on_bytes: OnBytes
) -> None:
    await make_directory(remote, posixpath.dirname(target))
    size, name, begin = status.st_size, temporary_names.temporary(), 0
    if size >= RESUMABLE_FILE:
        origin = (socket.gethostname(), status.st_dev, status.st_ino, size, status.st_mtime_ns)
        name = temporary_names.resumable(remote.name, target, *origin)
        begin = await unfinished_upload(remote, posixpath.join(posixpath.dirname(target), name), descriptor)
        on_bytes(begin)
    expected = asyncio.create_task(checksum.file_digest(remote, descriptor, size))
    try:
        async with BlockWriter(remote, target, name, size=size, keep=size >= RESUMABLE_FILE) as writer:

            async def transfer(offset: int, length: int, session: SftpSession) -> None:
                data = await local_files.read_block(descriptor, offset, length)
                _require_size(source, remote, len(data), length)
                await writer.write(offset, data, session)

            if not begin:
                await writer.create()
            await ParallelTransfer(remote.connections, begin, size, writer.block, transfer, on_bytes).run()
            digest = await expected
            if local_files.has_grown(descriptor, status) and digest is None:
                # A log, or rewritten and longer now: what was sent must be how it begins.
                _, digest = await asyncio.to_thread(local_files.digest, descriptor, size)
            await writer.commit(size)
        await checksum.verify_contents(remote, digest, target)
    finally:
        expected.cancel()


async def _create_meanwhile(
    remote: Remote, session: SftpSession, path: bytes, making: "asyncio.Task[None] | None"
) -> bytes:
    """Create a file while its directory is still being made; return when that is known to lie below the root."""
    try:
        # TRUNCATE: after a drop the file may be there, half written by the attempt before.
        handle = await _create(remote, session, path, posixpath.dirname(decode(path)), TRUNCATE)
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


async def _create(remote: Remote, session: SftpSession, path: bytes, directory: str, how: int) -> bytes:
    """Create a file for writing; its directory, if it was removed since it was last seen, too."""
    try:
        return await session.open(path, WRITE | CREATE | how)
    except StatusError as error:
        if error.code != FX_NO_SUCH_FILE:
            raise
    forget_directory(remote, directory)
    await make_directory(remote, directory)
    return await session.open(path, WRITE | CREATE | how)


async def _write_and_close(session: SftpSession, handle: bytes, data: bytes | memoryview) -> int | None:
    """Write, ask for the size and close in one flight; return the size as the server sees it."""
    view = memoryview(data)
    writes = [
        session.write(handle, offset, view[offset : offset + session.block])
        for offset in range(0, len(data), session.block)
    ]
    attributes = session.fstat(handle)
    closed = session.close_handle(handle)
    for write in writes:
        await write
    size = (await attributes).size
    await closed
    return size


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


def _require_complete(seen: int | None, sent: int) -> None:
    if seen is not None and seen != sent:
        raise StatusError(FX_FAILURE, f"{sent} bytes were sent and the server has {seen}")


def _require_size(source: str, remote: Remote, got: int, expected: int) -> None:
    if got != expected:
        raise LocalError(f"upload {source}", remote.name, "the file became shorter while it was read")


def _unreadable(source: str, remote: Remote, error: OSError) -> LocalError:
    return LocalError(
        f"upload {source}", remote.name, f"the local file cannot be read: {error.strerror or error}"
    )
