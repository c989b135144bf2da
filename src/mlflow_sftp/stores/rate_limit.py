# SPDX-License-Identifier: Apache-2.0
"""A limit on bytes a second."""

import asyncio
import threading
import time

from mlflow_sftp.wire.flow_control import MemoryBudget


class RateLimiter:
    """Spreads bytes over time; safe for threads. Without a rate it never delays."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def delay(self, size: int) -> float:
        """Return the seconds to wait before moving `size` bytes, and count them."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + size / self._rate
            return start - now


class LimitedBudget(MemoryBudget):
    """The memory budget of a connection, through which every block goes, at a limited rate."""

    def __init__(self, capacity: int, limiter: RateLimiter) -> None:
        super().__init__(capacity)
        self._limiter = limiter

    async def take(self, size: int) -> int:
        taken = await super().take(size)
        try:
            await asyncio.sleep(self._limiter.delay(size))
        except asyncio.CancelledError:
            self.give_back(taken)
            raise
        return taken
