"""Sessions for a large file open while what comes before its blocks is under way."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlflow_sftp.transfer.block_transfer import sessions_opening
from mlflow_sftp.wire.connections import Connections


class _Session:
    def __init__(self, round_trip: float) -> None:
        self.round_trip = round_trip


class _Connections:
    """A link whose greeting took longer than a round trip, by what the server took to start."""

    def __init__(self, round_trip: float, greeting: float) -> None:
        self.round_trip = round_trip
        self.greeting = greeting
        self.asked_for: list[int] = []

    async def connected(self) -> SimpleNamespace:
        return SimpleNamespace(session=_Session(self.greeting))

    async def session(self) -> _Session:
        return _Session(self.round_trip)

    async def extra_sessions(self, count: int) -> list[Any]:
        self.asked_for.append(count)
        await asyncio.sleep(60)
        return []


@pytest.mark.parametrize(
    ("round_trip", "greeting", "size", "asked_for"),
    [
        (0.08, 0.08, 256 << 20, [10]),
        (0.08, 0.08, 40 << 20, [5]),
        (0.03, 0.04, 256 << 20, [4]),
        (0.0002, 0.04, 256 << 20, []),
        (0.08, 0.08, 0, []),
    ],
)
def test_as_many_as_pay_are_asked_for_at_once_and_nobody_waits_for_them(
    round_trip: float, greeting: float, size: int, asked_for: list[int]
) -> None:
    async def scenario() -> list[int]:
        connections = _Connections(round_trip, greeting)
        async with sessions_opening(cast(Connections, connections), size):
            for _ in range(3):
                await asyncio.sleep(0)
        return connections.asked_for

    assert asyncio.run(asyncio.wait_for(scenario(), 5)) == asked_for


def test_what_fails_meanwhile_fails_where_it_matters_only() -> None:
    async def scenario() -> str:
        connections = _Connections(0.08, 0.04)
        connections.session = lambda: asyncio.sleep(0, 1 / 0)  # type: ignore[method-assign]
        async with sessions_opening(cast(Connections, connections), 256 << 20):
            await asyncio.sleep(0)
            return "went on"

    assert asyncio.run(scenario()) == "went on"
