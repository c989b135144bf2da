# SPDX-License-Identifier: Apache-2.0
"""From the server to local files: to a temporary name beside the target, then renamed over it."""

import asyncio
import os
import posixpath

from mlflow_sftp.errors import IntegrityError, LocalError, UnreachableError
from mlflow_sftp.transfer import aside, checksum, temporary_names
from mlflow_sftp.transfer.block_transfer import SMALL_FILE, ParallelTransfer
from mlflow_sftp.transfer.concurrency import for_each
from mlflow_sftp.transfer.handles import SessionHandles, living
from mlflow_sftp.transfer.listing import Entry, walk
from mlflow_sftp.transfer.progress import OnBytes, ignore_bytes
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.resume import RESUMABLE_FILE, unfinished_download
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.packets import FX_FAILURE, READ, Attributes, StatusError
from mlflow_sftp.wire.session import SftpSession


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
        attributes = await aside.stat(session, encode(source), answer)
        if attributes.is_directory:
            raise StatusError(FX_FAILURE, "it is a directory")
        return attributes

    found = await remote.attempt(f"download {source}", look, before_handshake=True)
    await _get(remote, source, target, found, on_bytes)


async def get_bytes(remote: Remote, source: str, size: int) -> bytes:
    """Return the contents of a file of about `size` bytes, whole."""
    return await remote.attempt(
        f"download {source}", lambda session: _read_whole(session, encode(source), size)
    )


async def _get(remote: Remote, source: str, target: str, found: Attributes, on_bytes: OnBytes) -> None:
    size = found.size or 0
    try:
        if size > SMALL_FILE:
            async with remote.connections.large_files:
                await _get_blocks(remote, source, target, found, on_bytes)
            return
        async with remote.connections.memory_budget.holding(size):
            data = await get_bytes(remote, source, size)
            await checksum.verify_contents(remote, checksum.hex_digest(remote, data), source)
            _write_file(target, data)
        on_bytes(size)
    except OSError as error:
        raise LocalError(
            f"download {source}", remote.name, f"{target} cannot be written: {error.strerror or error}"
        ) from error


async def _read_whole(session: SftpSession, path: bytes, size: int) -> bytes:
    """Read, ask for the size and close in one flight; read on where that was not all."""
    handle = await session.open(path, READ)
    reads = [session.read(handle, at, min(session.block, size - at)) for at in range(0, size, session.block)]
    attributes = session.fstat(handle)
    closed = session.close_handle(handle)
    data = b"".join([await read for read in reads])
    actual = (await attributes).size
    await closed
    if actual is None or len(data) == actual:
        return data
    return await _read_changed(session, path, actual)


async def _read_changed(session: SftpSession, path: bytes, size: int) -> bytes:
    """Read a file again, step by step, that gave short answers or is not as long as its listing said."""
    handle = await session.open(path, READ)
    try:
        data = bytearray()
        while part := await session.read(handle, len(data), session.block):
            data += part
        actual = (await session.fstat(handle)).size
    finally:
        session.close_handle(handle)
    if len(data) != actual:
        raise StatusError(FX_FAILURE, f"the server has {actual} bytes and sent {len(data)}")
    return bytes(data)


async def _get_blocks(remote: Remote, source: str, target: str, found: Attributes, on_bytes: OnBytes) -> None:
    size = found.size or 0
    resumable = size >= RESUMABLE_FILE
    name = (
        temporary_names.resumable(remote.name, source, size, found.mtime, target)
        if resumable
        else temporary_names.temporary()
    )
    temporary = os.path.join(os.path.dirname(target), name)
    reader = _BlockReader(remote, source, found)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
    keep = False
    try:
        begin = await unfinished_download(descriptor, reader.read)
        os.ftruncate(descriptor, begin)
        on_bytes(begin)

        async def transfer(offset: int, length: int, session: SftpSession) -> None:
            os.pwrite(descriptor, await reader.read(offset, length, session), offset)

        block = (await remote.connections.session()).block
        await ParallelTransfer(remote.connections, begin, size, block, transfer, on_bytes).run()
        await checksum.verify_contents(remote, await checksum.file_digest(remote, descriptor, size), source)
        os.replace(temporary, target)
        keep = True
    except (UnreachableError, asyncio.CancelledError):
        keep = resumable
        raise
    finally:
        reader.close()
        os.close(descriptor)
        if not keep:
            os.unlink(temporary)


class _BlockReader:
    """One file on the server, read over one or more sessions, that must not change meanwhile."""

    def __init__(self, remote: Remote, path: str, found: Attributes) -> None:
        self._remote = remote
        self._path = path
        self._found = found
        self._operation = f"download {path}"
        self._handles = SessionHandles(lambda session: asyncio.create_task(self._open(session)))
        self._received = 0

    async def read(self, offset: int, length: int, preferred: SftpSession | None = None) -> bytes:
        """Return exactly these bytes, in the session `preferred` while that lives."""

        async def get(session: SftpSession) -> bytes:
            used = living(preferred, session)
            handle = await self._handles.get(used)
            data = await used.read(handle, offset, length)
            while len(data) < length:
                part = await used.read(handle, offset + len(data), length - len(data))
                if not part:
                    raise self._changed()
                data += part
            return data

        data = await self._remote.attempt(self._operation, get, progress=lambda: self._received)
        self._received += length
        return data

    def close(self) -> None:
        """Close the file on the server, without waiting for it."""
        self._handles.close()

    async def _open(self, session: SftpSession) -> bytes:
        handle = await session.open(encode(self._path), READ)
        now = await session.fstat(handle)
        if (now.size, now.mtime) != (self._found.size, self._found.mtime):
            session.close_handle(handle)
            raise self._changed()
        return handle

    def _changed(self) -> IntegrityError:
        return IntegrityError(
            self._operation,
            self._remote.name,
            "the file on the server changed while it was read",
            "Try again.",
        )


def _write_file(target: str, data: bytes) -> None:
    temporary = os.path.join(os.path.dirname(target), temporary_names.temporary())
    try:
        with open(temporary, "xb", buffering=0) as file:
            file.write(data)
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _make_directory(remote: Remote, path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise LocalError(
            f"download to {path}", remote.name, f"the directory cannot be made: {error.strerror}"
        ) from error
