# SPDX-License-Identifier: Apache-2.0
"""Taking up an unfinished transfer of a large file: how much of it can be kept.

Blocks arrive out of order, so the last of what is there may have holes; all before that is whole. That it is part of
the very same file is found out by samples.
"""

import os
from collections.abc import Awaitable, Callable

from mlflow_sftp.transfer import local_files
from mlflow_sftp.transfer.block_transfer import MAX_REORDER_BYTES
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.packets import FX_NO_SUCH_FILE, READ, StatusError
from mlflow_sftp.wire.session import SftpSession

# Smaller files are sent again as a whole.
RESUMABLE_FILE = 32 << 20
_SAMPLES, _SAMPLE_SIZE = 16, 32 << 10


async def unfinished_upload(remote: Remote, path: str, descriptor: int) -> int:
    """Return how many bytes of `path` on the server, an unfinished upload of this file, can be kept; 0 for none.

    The process that began it may still be at it. That does no harm: both write the same bytes to the same file,
    and the one that comes second finds the file published.
    """
    temporary = encode(path)

    async def look(session: SftpSession) -> int:
        try:
            size = (await session.lstat(temporary)).size or 0
        except StatusError as error:
            if error.code == FX_NO_SUCH_FILE:
                return 0
            raise
        certain = max(0, size - MAX_REORDER_BYTES)
        return certain if certain and await _is_prefix(session, temporary, descriptor, certain) else 0

    return await remote.attempt(f"look for the unfinished upload {path}", look)


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
