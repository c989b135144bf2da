# SPDX-License-Identifier: Apache-2.0
"""Bounds on what is in flight: bytes held in memory, and bytes on the link."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

# The least window is two blocks: one is on its way while the other is answered. The first is what may be sent before
# anything is known of the link.
_LEAST_WINDOW, _FIRST_WINDOW = 512 << 10, 1 << 20
# For what happens in bursts: scheduling, disks. Without it nothing would be in flight on a loopback.
_SLACK_SECONDS = 0.005
# Round trips in the window, at first and later; growth in a round trip that shows that the link is not full yet, and
# how many without it show that it is.
_GROWING, _STEADY, _STILL_GROWING, _FULL_ROUNDS = 4, 2, 1.25, 3
# How long a delivery rate counts.
_RATE_SECONDS, _RATE_ROUND_TRIPS = 1.0, 10


class MemoryBudget:
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
            needed, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if needed > self._free:
                return
            self._waiting.popleft()
            self._free -= needed
            turn.set_result(None)

    @contextlib.asynccontextmanager
    async def holding(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes for the length of a block."""
        taken = await self.take(size)
        try:
            yield
        finally:
            self.give_back(taken)


class Acknowledge(Protocol):
    """Ends a block's flight; must be called once."""

    def __call__(self, delivered: bool) -> None: ...


class CongestionWindow:
    """Bounds what large files have in flight to what the link carries, so that small files find no long queue.

    The window is what the link delivers in two round trips (in four, until that no longer makes it deliver more)
    and a little more. Delivery is measured block by block and its best of late counts, as BBR does it: as long as
    the link is not full, twice as much in flight delivers twice as much, so the window grows until it is, and then
    queues one round trip's worth. Bytes also count in the memory budget, of which at most half is used.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self.size = _FIRST_WINDOW
        self.round_trip = 1.0
        self._gain = _GROWING
        self._round_until = 0.0
        self._reached = 0.0
        self._full_rounds = 0
        self._budget = budget
        self._bytes_in_flight = 0
        self._delivered = 0
        self._rates = [0.0, 0.0]
        self._rates_until = 0.0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def in_flight(self, size: int) -> AsyncIterator[None]:
        """Have `size` bytes in flight for the length of a block of code, at the end of which they are delivered."""
        acknowledge = await self.acquire(size)
        delivered = False
        try:
            yield
            delivered = True
        finally:
            acknowledge(delivered)

    async def acquire(self, size: int) -> Acknowledge:
        """Wait until `size` bytes may be in flight; the function returned must be told whether they were delivered."""
        if self._waiting or not self._fits(size):
            await self._wait_for_room(size)
        else:
            self._bytes_in_flight += size
        try:
            held = await self._budget.take(size)
        except BaseException:
            self._release(size)
            raise
        clock = asyncio.get_running_loop().time
        started, delivered_before = clock(), self._delivered

        def acknowledge(delivered: bool) -> None:
            self._budget.give_back(held)
            if delivered:
                self._delivered += size
                self._measure(clock(), clock() - started, self._delivered - delivered_before)
            self._release(size)

        return acknowledge

    def _fits(self, size: int) -> bool:
        return not self._bytes_in_flight or self._bytes_in_flight + size <= self.size

    async def _wait_for_room(self, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(size)
            raise

    def _release(self, size: int) -> None:
        self._bytes_in_flight -= size
        while self._waiting:
            needed, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif not self._fits(needed):
                return
            else:
                self._waiting.popleft()
                self._bytes_in_flight += needed
                turn.set_result(None)

    def _measure(self, now: float, seconds: float, delivered: int) -> None:
        self.round_trip = min(self.round_trip, seconds)
        if now > self._rates_until:
            self._rates = [0.0, self._rates[0]]
            self._rates_until = now + max(_RATE_SECONDS, _RATE_ROUND_TRIPS * self.round_trip)
        self._rates[0] = max(self._rates[0], delivered / max(seconds, 1e-6))
        rate = max(self._rates)
        if now > self._round_until:
            grown = rate >= self._reached * _STILL_GROWING
            self._full_rounds = 0 if grown else self._full_rounds + 1
            self._reached, self._round_until = rate, now + self.round_trip
            if self._full_rounds == _FULL_ROUNDS:
                self._gain = _STEADY
        window = rate * (self._gain * self.round_trip + _SLACK_SECONDS)
        self.size = int(min(max(window, _LEAST_WINDOW), self._budget.capacity // 2))
