import asyncio
from collections.abc import AsyncIterator

import pytest

from mlflow_sftp.stores.rate_limit import LimitedBudget, RateLimiter
from mlflow_sftp.transfer.concurrency import for_each, iterate
from mlflow_sftp.wire.flow_control import CongestionWindow, MemoryBudget


async def _run_what_is_ready() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_budget_is_never_exceeded_and_serves_in_order() -> None:
    async def scenario() -> None:
        budget, held, most, order = MemoryBudget(10), 0, 0, []

        async def use(number: int, size: int) -> None:
            nonlocal held, most
            async with budget.holding(size):
                order.append(number)
                held += size
                most = max(most, held)
                await asyncio.sleep(0)
                held -= size

        await asyncio.gather(*(use(number, 1 + number % 7) for number in range(50)))
        assert most <= 10
        assert order == sorted(order)
        assert await budget.take(10) == 10

    asyncio.run(scenario())


def test_more_than_the_whole_budget_is_served_alone() -> None:
    async def scenario() -> None:
        budget = MemoryBudget(10)
        assert await budget.take(1000) == 10
        waiting = asyncio.create_task(budget.take(1))
        await _run_what_is_ready()
        assert not waiting.done()
        budget.give_back(10)
        assert await waiting == 1

    asyncio.run(scenario())


def test_a_cancelled_wait_takes_nothing() -> None:
    async def scenario() -> None:
        budget = MemoryBudget(10)
        await budget.take(10)
        waiting = asyncio.create_task(budget.take(5))
        await _run_what_is_ready()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        budget.give_back(10)
        assert await budget.take(10) == 10

    asyncio.run(scenario())


def test_for_each_bounds_what_runs_and_pulls_no_further_ahead() -> None:
    async def scenario() -> None:
        pulled = running = most = 0

        async def numbers() -> AsyncIterator[int]:
            nonlocal pulled
            for number in range(100):
                pulled += 1
                yield number

        async def work(_: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            assert pulled <= most + 98
            await asyncio.sleep(0)
            running -= 1

        await for_each(numbers(), work, lambda: 8)
        assert pulled == 100
        assert most == 8

    asyncio.run(scenario())


def test_for_each_raises_the_first_failure_and_stops_the_rest() -> None:
    async def scenario() -> None:
        cancelled = 0

        async def work(number: int) -> None:
            nonlocal cancelled
            if number == 3:
                raise ValueError("three")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
                raise

        with pytest.raises(ValueError, match="three"):
            await for_each(iterate(range(10)), work, lambda: 10)
        assert cancelled == 9

    asyncio.run(scenario())


class _Wire:
    """A link that carries `bandwidth` bytes a second and takes `round_trip` seconds, on a clock of its own pace."""

    def __init__(self, bandwidth: float, round_trip: float) -> None:
        self.bandwidth = bandwidth
        self.round_trip = round_trip
        self.free_at = 0.0
        self.most = 0
        self.in_flight = 0

    async def carry(self, window: CongestionWindow, size: int) -> None:
        async with window.in_flight(size):
            self.in_flight += size
            self.most = max(self.most, self.in_flight)
            now = asyncio.get_running_loop().time()
            self.free_at = max(now, self.free_at) + size / self.bandwidth
            await asyncio.sleep(self.free_at - now + self.round_trip)
            self.in_flight -= size


async def _fly(wire: _Wire, size: int, block: int = 50_000) -> float:
    """Send `size` bytes in blocks; return the seconds it took."""
    window = CongestionWindow(MemoryBudget(64 << 20))
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(wire.carry(window, block) for _ in range(size // block)))
    return asyncio.get_running_loop().time() - started


def test_the_window_fills_a_link_and_does_not_queue_much_more() -> None:
    async def scenario() -> None:
        wire = _Wire(bandwidth=20e6, round_trip=0.05)
        seconds = await _fly(wire, 20_000_000)
        assert seconds < 2.0  # 1.0 at best
        assert wire.most < 5 * 20e6 * 0.05

    asyncio.run(scenario())


def test_the_window_begins_carefully() -> None:
    async def scenario() -> None:
        wire = _Wire(bandwidth=1e6, round_trip=0.1)
        await _fly(wire, 1_500_000)
        assert wire.most <= 1 << 20

    asyncio.run(scenario())


def test_those_who_give_up_leave_the_window_to_others() -> None:
    async def scenario() -> None:
        window = CongestionWindow(MemoryBudget(64 << 20))
        window.size = 100
        acknowledge = await window.acquire(80)
        waiting = [asyncio.create_task(window.acquire(80)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        acknowledge(False)
        waiting[1].cancel()  # just when it was its turn
        second = await asyncio.wait_for(waiting[2], 1)
        second(True)
        (await asyncio.wait_for(window.acquire(100), 1))(True)

    asyncio.run(scenario())


def test_a_block_that_is_given_up_while_it_waits_for_its_rate_takes_nothing() -> None:
    async def scenario() -> None:
        budget = LimitedBudget(10, RateLimiter(1.0))
        await budget.take(5)
        waiting = asyncio.create_task(budget.take(5))
        await _run_what_is_ready()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await MemoryBudget.take(budget, 5) == 5

    asyncio.run(asyncio.wait_for(scenario(), 2))
