# SPDX-License-Identifier: Apache-2.0
"""Working on many items at once, with a bound."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def for_each(
    items: AsyncIterator[T], work: Callable[[T], Awaitable[None]], limit: Callable[[], int]
) -> None:
    """Await `work(item)` for every item, at most `limit()` at once; items are pulled only as fast as they are
    worked on. The first failure cancels the rest and is raised."""
    freed = asyncio.Event()
    running: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        freed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            failures.append(error)

    try:
        async for item in items:
            while len(running) >= limit() and not failures:
                freed.clear()
                await freed.wait()
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
        if isinstance(items, AsyncGenerator):
            await items.aclose()  # What it has open would stay so as long as somebody keeps the failure.
    if failures:
        raise failures[0]


async def _await(work: Awaitable[None]) -> None:
    await work


async def iterate(items: Iterable[T]) -> AsyncIterator[T]:
    """Present an ordinary iterable as an asynchronous one."""
    for item in items:
        yield item
