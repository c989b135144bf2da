# SPDX-License-Identifier: Apache-2.0
"""Hands chunks from a caller's thread or event loop to an upload on the package's event loop, with back-pressure."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from mlflow_sftp import event_loop

_CHUNK = 1 << 20
_WAITING = 4

Consumer = Callable[[AsyncIterator[bytes]], Awaitable[None]]


class StreamBridge:
    """Runs `consumer(chunks)` on the event loop and gives it what is put in, joined to pieces of 1 MiB.

    Every method returns a future of the caller's side; at most a few pieces wait at any time.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING)
        self._gathered = bytearray()
        self._task: asyncio.Task[None] | None = None

    def put(self, chunk: bytes) -> "Future[None] | None":
        """Add a chunk; None when nothing has to be waited for. The future fails when the consumer has failed."""
        self._gathered += chunk
        if len(self._gathered) < _CHUNK:
            return None
        return self._submit(self._send())

    def finish(self) -> "Future[None]":
        """Tell the consumer that this was all; the future ends with the consumer."""
        return self._submit(self._finish())

    def cancel(self) -> "Future[None]":
        """Stop the consumer; the future ends when it has cleaned up."""
        return self._submit(self._cancel())

    def _submit(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return event_loop.submit(work)

    async def _send(self) -> None:
        piece, self._gathered = bytes(self._gathered), bytearray()
        await self._enqueue(piece)

    async def _finish(self) -> None:
        if self._gathered:
            await self._send()
        await self._enqueue(None)
        await self._running()

    async def _cancel(self) -> None:
        task = self._running()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _enqueue(self, piece: bytes | None) -> None:
        consumer = self._running()
        putting = asyncio.ensure_future(self._queue.put(piece))
        await asyncio.wait({putting, consumer}, return_when=asyncio.FIRST_COMPLETED)
        if not putting.done():
            putting.cancel()
            await consumer

    def _running(self) -> "asyncio.Task[None]":
        if self._task is None:
            self._task = asyncio.create_task(self._consume())
        return self._task

    async def _consume(self) -> None:
        await self._consumer(self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._queue.get()) is not None:
            yield piece
