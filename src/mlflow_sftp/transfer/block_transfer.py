# SPDX-License-Identifier: Apache-2.0
"""The blocks of one large file, transferred in one session, or in several where a long link pays for them."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable

from mlflow_sftp.transfer.progress import OnBytes
from mlflow_sftp.wire.connections import Connections
from mlflow_sftp.wire.session import SftpSession

# Transfers one block: offset, length, the session to use.
TransferBlock = Callable[[int, int, SftpSession], Awaitable[None]]
# Opens the file in one more session, where it is not open yet.
OpenIn = Callable[[SftpSession], Awaitable[object]]

# How many bytes the first unfinished block may lie behind the newest: all before that is transferred for certain.
MAX_REORDER_BYTES = 32 << 20
# A file up to this size goes in one piece, a larger one in blocks.
SMALL_FILE = 1 << 20
# Blocks in flight in one session: two of the 2 MiB windows that OpenSSH grants a channel.
_BLOCKS_PER_SESSION = 16
_WINDOW = 2 << 20
# What extra sessions are meant to fill at most, in bytes a second, and the least work one is opened for.
_FASTEST_LINK, _LEAST_SHARE = 250e6, 8 << 20
# Seconds until a new session's greeting that no server takes just to start it: the link is long.
_CERTAINLY_LONG = 0.05


@contextlib.asynccontextmanager
async def sessions_opening(connections: Connections, size: int) -> AsyncIterator[None]:
    """Open the sessions that `size` bytes will want while what comes before the first of them is under way.

    On a long link they would otherwise be ready only after many round trips. What fails here fails again, and is
    reported, where it matters.
    """

    async def open_sessions() -> None:
        main = (await connections.connected()).session
        if main.round_trip < _CERTAINLY_LONG:
            main = await connections.session()
        if wanted := _useful_sessions(main, size):
            await connections.extra_sessions(wanted)

    opening = asyncio.create_task(open_sessions())
    try:
        yield
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)


def _useful_sessions(main: SftpSession, size: int) -> int:
    """Return how many more sessions pay for `size` bytes on the link that the main session is on."""
    wanted = min(math.ceil(_FASTEST_LINK * main.round_trip / _WINDOW), size // _LEAST_SHARE)
    return wanted if wanted > 1 else 0


class ParallelTransfer:
    """Calls `transfer(offset, length, session)` for every block of the bytes from `begin` to `size`.

    Blocks begin in order, as many at once as the link carries. `transfer` deals with drops itself. `open_in(session)`
    comes first: a block that waited for it would count as one that the link was slow to carry.
    """

    def __init__(
        self,
        connections: Connections,
        begin: int,
        size: int,
        block: int,
        transfer: TransferBlock,
        open_in: OpenIn,
        on_bytes: OnBytes,
    ) -> None:
        self._connections = connections
        self._next = begin
        self._size = size
        self._block = block
        self._transfer = transfer
        self._open_in = open_in
        self._on_bytes = on_bytes
        self._excluded: SftpSession | None = None
        self._unfinished: dict[int, None] = {}
        self._advanced = asyncio.Event()
        self._workers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Transfer everything; the first failure ends it."""
        main = await self._connections.session()
        self._start_workers(main)
        adding_channels = asyncio.create_task(self._add_channels(main))
        try:
            while self._workers:
                done, _ = await asyncio.wait(self._workers, return_when=asyncio.FIRST_COMPLETED)
                for worker in done:
                    worker.result()
                self._workers -= done
        finally:
            adding_channels.cancel()
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(adding_channels, *self._workers, return_exceptions=True)

    def _start_workers(self, session: SftpSession) -> None:
        for _ in range(_BLOCKS_PER_SESSION):
            self._workers.add(asyncio.create_task(self._work(session)))

    async def _add_channels(self, main: SftpSession) -> None:
        """Move to as many sessions as the window's size and the round trip make useful.

        The main session is left to small files then: what waits in its window would hold them up.
        """
        wanted = _useful_sessions(main, self._size - self._next)
        if not wanted:
            return
        sessions = await self._connections.extra_sessions(wanted)
        for session in sessions:
            self._start_workers(session)
        if sessions:
            self._excluded = main

    async def _work(self, session: SftpSession) -> None:
        if self._next < self._size:
            with contextlib.suppress(Exception):  # The first block fails in the same way, and says so.
                await self._open_in(session)
        while self._next < self._size and session is not self._excluded:
            offset, length = self._next, min(self._block, self._size - self._next)
            self._next += length
            self._unfinished[offset] = None
            await self._wait_for_first(offset)
            async with self._connections.congestion_window.in_flight(length):
                await self._transfer(offset, length, session)
            del self._unfinished[offset]
            self._advanced.set()
            self._on_bytes(length)

    async def _wait_for_first(self, offset: int) -> None:
        while offset - next(iter(self._unfinished)) > MAX_REORDER_BYTES:
            self._advanced.clear()
            await self._advanced.wait()
