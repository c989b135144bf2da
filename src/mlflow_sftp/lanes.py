# SPDX-License-Identifier: Apache-2.0
"""The blocks of one large file, transferred over one connection, or over more where a long link pays for them."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from mlflow_sftp.connection import Connections
from mlflow_sftp.flow import Report
from mlflow_sftp.protocol import SftpSession

Transfer = Callable[[int, int, SftpSession], Awaitable[None]]

# How far the first unfinished block may lie behind the newest: all before that is transferred for certain.
SPAN = 64 << 20
# Blocks in flight on one connection: two of the 2 MiB windows that OpenSSH grants a channel.
_BLOCKS_PER_LANE = 16
_WINDOW = 2 << 20
# What extra connections are meant to fill at most, in bytes a second, and the least work one is opened for.
_FASTEST_LINK, _LEAST_SHARE = 200e6, 16 << 20
# The rate is measured for so many seconds, or round trips if those take longer, before more are opened.
_PROBE_SECONDS, _PROBE_ROUND_TRIPS = 0.25, 4


class BlockRun:
    """Calls `transfer(offset, length, session)` for every block of the bytes from `begin` to `size`.

    Blocks begin in order, many at once, within the memory budget. `transfer` deals with drops itself.
    """

    def __init__(
        self, connections: Connections, begin: int, size: int, block: int, transfer: Transfer, report: Report
    ) -> None:
        self._connections = connections
        self._next = begin
        self._size = size
        self._block = block
        self._transfer = transfer
        self._report = report
        self._done = 0
        self._unfinished: dict[int, None] = {}
        self._advanced = asyncio.Event()
        self._workers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Transfer everything; the first failure ends it."""
        self._add_lane((await self._connections.main()).session)
        widening = asyncio.create_task(self._widen())
        try:
            while self._workers:
                done, _ = await asyncio.wait(self._workers, return_when=asyncio.FIRST_COMPLETED)
                self._workers -= done
                for worker in done:
                    worker.result()
        finally:
            widening.cancel()
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(widening, *self._workers, return_exceptions=True)

    def _add_lane(self, session: SftpSession) -> None:
        for _ in range(_BLOCKS_PER_LANE):
            self._workers.add(asyncio.create_task(self._work(session)))

    async def _widen(self) -> None:
        """Open more connections once it shows that what is left takes long compared with opening them."""
        link = await self._connections.main()
        seconds = max(_PROBE_SECONDS, _PROBE_ROUND_TRIPS * link.session.round_trip)
        await asyncio.sleep(seconds)
        left = self._size - self._next
        if not self._done or left / (self._done / seconds) < 3 * link.setup:
            return
        useful = math.ceil(_FASTEST_LINK * link.session.round_trip / _WINDOW)
        wanted = min(useful, 1 + left // _LEAST_SHARE)
        for session in (await self._connections.lanes(wanted))[1:]:
            self._add_lane(session)

    async def _work(self, lane: SftpSession) -> None:
        while self._next < self._size:
            offset, length = self._next, min(self._block, self._size - self._next)
            self._next += length
            self._unfinished[offset] = None
            await self._wait_for_stragglers(offset)
            async with self._connections.budget.holding(length):
                await self._transfer(offset, length, lane)
            del self._unfinished[offset]
            self._advanced.set()
            self._done += length
            self._report(length)

    async def _wait_for_stragglers(self, offset: int) -> None:
        while offset - next(iter(self._unfinished)) > SPAN:
            self._advanced.clear()
            await self._advanced.wait()
