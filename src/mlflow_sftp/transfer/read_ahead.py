# SPDX-License-Identifier: Apache-2.0
"""Reading a file on the server from one end to the other, through one handle."""

from collections.abc import AsyncIterator

from mlflow_sftp.wire.session import SftpSession


async def read_ahead(
    session: SftpSession, handle: bytes, begin: int, end: int, *, blocks: int
) -> AsyncIterator[tuple[int, bytes]]:
    """Yield offset and bytes from `begin` to `end`, or to where the file ends, in order and without a gap.

    So many `blocks` of the session's are asked for at once.
    """
    block, offset = session.block, begin
    while offset < end:
        asked = range(offset, min(end, offset + blocks * block), block)
        answers = [session.read(handle, at, min(block, end - at)) for at in asked]
        for at, answer in zip(asked, answers, strict=True):
            data = await answer
            if at != offset:
                continue  # An answer before this one was short; this range is asked for again.
            if not data:
                return
            yield offset, data
            offset += len(data)
