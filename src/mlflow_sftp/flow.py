# SPDX-License-Identifier: Apache-2.0
"""Bounds on what is in flight: bytes held, and items worked on at once."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
Report = Callable[[int], None]


def ignore(count: int) -> None:
    """A progress report that goes nowhere."""


class Budget:
    """At most `capacity` bytes taken at once, first come first served.

    A request for more than there is at all gets everything.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> int:
        """Wait for `size` bytes and return how many to give back."""
        size = min(size, self.capacity)
        if self._free >= size and not self._waiting:
            self._free -= size
            return size
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            raise
        return size

    def give_back(self, size: int) -> None:
        """Return bytes taken before; wakes those who wait for them."""
        self._free += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if wanted > self._free:
                return
            self._waiting.popleft()
            self._free -= wanted
            turn.set_result(None)

    @contextlib.asynccontextmanager
    async def holding(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes for the length of a block."""
        taken = await self.take(size)
        try:
            yield
        finally:
            self.give_back(taken)


async def for_each(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]], width: int) -> None:
    """Await `work(item)` for every item, at most `width` at once; items are pulled only as fast as they are
    worked on. The first failure cancels the rest and is raised."""
    slots = asyncio.Semaphore(width)
    running: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            failures.append(error)

    try:
        async for item in items:
            await slots.acquire()
            if failures:
                break
            task = asyncio.create_task(_await(work(item)))
            running.add(task)
            task.add_done_callback(ended)
        while running and not failures:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if failures:
        raise failures[0]


async def _await(work: Awaitable[None]) -> None:
    await work


async def iterate(items: Iterable[T]) -> AsyncIterator[T]:
    """Present an ordinary iterable as an asynchronous one."""
    for item in items:
        yield item
