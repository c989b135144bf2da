# SPDX-License-Identifier: Apache-2.0
"""Taking up an unfinished transfer of a large file: how much of it can be kept.

Blocks arrive out of order, so the last of what is there may have holes; all before that is whole. That it is part of
the very same file is found out by samples.
"""

import os
import posixpath
from collections.abc import Awaitable, Callable

from mlflow_sftp.transfer import local_files, temporary_names
from mlflow_sftp.transfer.block_transfer import MAX_REORDER_BYTES
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.ways_of_writing import may_resume
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.packets import CREATE, FX_NO_SUCH_FILE, READ, TRUNCATE, WRITE, StatusError
from mlflow_sftp.wire.server_traits import ServerTraits
from mlflow_sftp.wire.session import SftpSession

# Smaller files are sent again as a whole.
RESUMABLE_FILE = 32 << 20
_SAMPLES, _SAMPLE_SIZE = 16, 32 << 10


async def unfinished_upload(remote: Remote, path: str, descriptor: int) -> int | None:
    """Return how many bytes of `path` on the server, an unfinished upload of this file, can be kept.

    0 where there is no such file, None where there is one that is better left alone. The process that began it may
    still be at it. That does no harm: both write the same bytes to the same file, and the one that comes second finds
    the file published. But it must not be opened on a server that would truncate it.
    """
    temporary = encode(path)

    async def look(session: SftpSession) -> int | None:
        try:
            size = (await session.lstat(temporary)).size or 0
        except StatusError as error:
            if error.code == FX_NO_SUCH_FILE:
                return 0
            raise
        certain = max(0, size - MAX_REORDER_BYTES)
        traits = remote.connections.traits
        try:
            if not certain or not await _is_prefix(session, temporary, descriptor, certain):
                return None
            if traits.keeps_contents is None:
                await _try_second_open(session, posixpath.dirname(temporary), traits)
        except StatusError:
            return None  # What may not be read, or not just now, can still be sent again.
        return certain if may_resume(traits) else None

    return await remote.attempt(f"look for the unfinished upload {path}", look)


async def _try_second_open(session: SftpSession, directory: bytes, traits: ServerTraits) -> None:
    """Learn from a file of two bytes whether a second open for writing is possible and keeps what is there."""
    path = posixpath.join(directory, temporary_names.temporary().encode())
    handles = [await session.open(path, WRITE | CREATE | TRUNCATE)]
    try:
        await session.write(handles[0], 0, b"a")
        try:
            handles.append(await session.open(path, WRITE))
            await session.write(handles[1], 1, b"b")
        except StatusError:
            traits.opens_twice = False
            return
        traits.opens_twice = True
        while handles:
            await session.close_handle(handles.pop())
        handles.append(await session.open(path, READ))
        traits.keeps_contents = await session.read(handles[0], 0, 2) == b"ab"
    finally:
        for handle in handles:
            session.close_handle(handle)
        session.remove(path)


async def unfinished_download(descriptor: int, read: Callable[[int, int], Awaitable[bytes]]) -> int:
    """Return how many bytes of an unfinished download in `descriptor` can be kept; 0 for none.

    `read(offset, length)` returns what the server has there.
    """
    certain = min(max(0, os.fstat(descriptor).st_size - MAX_REORDER_BYTES), _first_hole(descriptor))
    if not certain:
        return 0
    for offset in _sample_offsets(certain):
        here = await local_files.read_block(descriptor, offset, _SAMPLE_SIZE)
        if here != await read(offset, len(here)):
            return 0
    return certain


def _first_hole(descriptor: int) -> int:
    """Return where a local file was never written, which is how what a machine loses when it stops shows."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE)
    except OSError:
        return os.fstat(descriptor).st_size


async def _is_prefix(session: SftpSession, path: bytes, descriptor: int, size: int) -> bool:
    """Compare samples, the last bytes among them, of an unfinished upload with the local file."""
    handle = await session.open(path, READ)
    offsets = _sample_offsets(size)
    try:
        answers = [session.read(handle, offset, _SAMPLE_SIZE) for offset in offsets]
        for offset, answer in zip(offsets, answers, strict=True):
            there = await answer
            if not there or there != await local_files.read_block(descriptor, offset, len(there)):
                return False
        return True
    finally:
        session.close_handle(handle)


def _sample_offsets(size: int) -> list[int]:
    last = max(0, size - _SAMPLE_SIZE)
    return [last * step // (_SAMPLES - 1) for step in range(_SAMPLES)]
