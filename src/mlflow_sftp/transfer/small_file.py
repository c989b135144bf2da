# SPDX-License-Identifier: Apache-2.0
"""Writing a small file on the server: in one flight, or step by step where the server needs that."""

from mlflow_sftp.transfer.durability import await_fsync, begin_fsync
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.ways_of_writing import Flight
from mlflow_sftp.wire.packets import FX_FAILURE, READ, StatusError
from mlflow_sftp.wire.session import SftpSession


async def write_small_file(
    remote: Remote, session: SftpSession, path: bytes, handle: bytes, data: bytes | memoryview, flight: Flight
) -> None:
    """Fill a new file and close it; StatusError where the server does not have exactly `data` then."""
    if flight is Flight.WHOLE:
        size = await _write_in_one_flight(remote, session, path, handle, data)
    else:
        size = await _write_step_by_step(remote, session, path, handle, data, flight)
    if size is None:
        await _compare(session, path, data)
    else:
        require_complete(size, len(data))


def require_complete(seen: int, sent: int) -> None:
    """Raise StatusError unless the server has as many bytes as were sent."""
    if seen != sent:
        raise StatusError(FX_FAILURE, f"{sent} bytes were sent and the server has {seen}")


async def _write_in_one_flight(
    remote: Remote, session: SftpSession, path: bytes, handle: bytes, data: bytes | memoryview
) -> int | None:
    """Return the size as the server sees it; None where it does not tell."""
    traits = remote.connections.traits
    writes = [session.write(handle, at, part) for at, part in _parts(session, data)]
    synced = begin_fsync(remote, session, handle)
    attributes = session.fstat(handle)
    closed = session.close_handle(handle)
    for write in writes:
        await write
    await await_fsync(remote, session, path, synced)
    size = refusal = None
    try:
        size = (await attributes).size
    except StatusError as error:
        refusal = error
    await closed
    if size == len(data):
        traits.answers_fstat = True
        return size
    # Some know nothing of a file, or its old size, before CLOSE is answered.
    size = (await session.stat(path)).size
    if size == len(data):
        if refusal is not None:
            traits.answers_fstat = traits.answers_fstat or False
        else:
            traits.keeps_order = False
    return size


async def _write_step_by_step(
    remote: Remote, session: SftpSession, path: bytes, handle: bytes, data: bytes | memoryview, flight: Flight
) -> int | None:
    """As above, for servers that do not keep the order of requests, or know a file when it is closed."""
    try:
        if flight is Flight.WRITES:
            for write in [session.write(handle, at, part) for at, part in _parts(session, data)]:
                await write
        else:
            for at, part in _parts(session, data):
                await session.write(handle, at, part)
        await await_fsync(remote, session, path, begin_fsync(remote, session, handle))
    except BaseException:
        session.close_handle(handle)
        raise
    await session.close_handle(handle)
    return (await session.stat(path)).size


async def _compare(session: SftpSession, path: bytes, data: bytes | memoryview) -> None:
    """Read a file back whose size the server does not tell; StatusError where it is another."""
    handle = await session.open(path, READ)
    try:
        at = 0
        while part := await session.read(handle, at, session.block):
            if part != data[at : at + len(part)]:
                raise StatusError(FX_FAILURE, "the server has other bytes than were sent")
            at += len(part)
    finally:
        session.close_handle(handle)
    require_complete(at, len(data))


def _parts(session: SftpSession, data: bytes | memoryview) -> list[tuple[int, memoryview]]:
    view = memoryview(data)
    return [(at, view[at : at + session.block]) for at in range(0, len(data), session.block)]
