"""How many files may be open at once on servers of different limits, which do not tell them."""

import asyncio

import pytest

from mlflow_sftp.wire.open_files import OpenFiles
from mlflow_sftp.wire.packets import StatusError


class _Server:
    """Opens up to `limit` files at once; names in `bad` never."""

    def __init__(self, limit: int, bad: frozenset[int] = frozenset()) -> None:
        self.limit = limit
        self.bad = bad
        self.open = 0
        self.most = 0
        self.refusals = 0

    async def open_file(self, name: int) -> bytes:
        await asyncio.sleep(0)
        if name in self.bad or self.open >= self.limit:
            self.refusals += 1
            raise StatusError(4, "Failure")
        self.open += 1
        self.most = max(self.most, self.open)
        return b"handle"


async def _use(files: OpenFiles, server: _Server, name: int, *, for_directory: bool = False) -> None:
    async with files.place(for_directory=for_directory) as place:
        await place.open(lambda: server.open_file(name))
        await asyncio.sleep(0.001)
        server.open -= 1


def _run(files: OpenFiles, server: _Server, count: int) -> list[BaseException]:
    async def scenario() -> list[BaseException]:
        done = await asyncio.gather(
            *(_use(files, server, name, for_directory=name % 3 == 0) for name in range(count)),
            return_exceptions=True,
        )
        return [each for each in done if isinstance(each, BaseException)]

    return asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize("limit", [1, 2, 5, 16, 43, 1000])
def test_everything_is_opened_whatever_the_server_allows(limit: int) -> None:
    files, server = OpenFiles(512), _Server(limit)
    files.set_limit(128, told=False)
    assert _run(files, server, 400) == []
    assert server.most <= limit
    assert files.limit <= max(limit, 128)
    # Refused at most once each by those that were on their way when the limit was met.
    assert server.refusals <= 128
    assert _run(files, server, 50) == []


def test_few_are_opened_before_anything_is_known() -> None:
    files, server = OpenFiles(512), _Server(1000)

    async def scenario() -> None:
        tasks = [asyncio.create_task(files.place().take()) for _ in range(100)]
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in tasks) == files.limit <= 16
        files.set_limit(50, told=True)
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in tasks) == 50
        for task in tasks:
            task.cancel()

    asyncio.run(scenario())
    assert server.refusals == 0


def test_a_refusal_that_is_about_the_file_is_told_and_costs_the_others_little() -> None:
    files, server = OpenFiles(512), _Server(1000, frozenset({17}))
    files.set_limit(128, told=False)
    (error,) = _run(files, server, 200)
    assert isinstance(error, StatusError)
    assert server.refusals < 20
    assert files.limit >= 16


def test_what_the_server_tells_is_believed_again_after_a_refusal_that_was_about_the_file() -> None:
    files, server = OpenFiles(512), _Server(1000, frozenset({17}))
    files.set_limit(64, told=True)
    assert len(_run(files, server, 200)) == 1
    assert files.limit == 64


def test_what_the_server_tells_may_be_too_much() -> None:
    files, server = OpenFiles(512), _Server(3)
    files.set_limit(64, told=True)
    assert _run(files, server, 200) == []
    assert files.limit <= 3


def test_a_listing_that_waits_for_its_reader_does_not_hold_up_the_readers_files() -> None:
    files, server = OpenFiles(512), _Server(1000, frozenset({1}))
    files.set_limit(128, told=False)

    async def scenario() -> None:
        listing = files.place(for_directory=True)
        await listing.take()
        await listing.open(lambda: server.open_file(0))
        listing.keep()
        with pytest.raises(StatusError):
            await _use(files, server, 1)
        await _use(files, server, 2)
        listing.give_back()

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_a_cancelled_wait_takes_no_place() -> None:
    files = OpenFiles(1)

    async def scenario() -> None:
        async with files.place():
            waiting = asyncio.create_task(files.place().take())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(files.place().take(), 1)

    asyncio.run(scenario())


def test_a_file_does_not_wait_behind_a_directory_that_has_to() -> None:
    files = OpenFiles(4)
    files.set_limit(4, told=True)

    async def scenario() -> None:
        for _ in range(2):
            listing = files.place(for_directory=True)
            await listing.take()
            listing.keep()
        third = asyncio.create_task(files.place(for_directory=True).take())
        await asyncio.sleep(0)
        await asyncio.wait_for(files.place().take(), 1)
        assert not third.done()
        third.cancel()

    asyncio.run(scenario())


def test_a_listing_that_waits_for_its_reader_leaves_it_a_place_where_there_is_but_one() -> None:
    files = OpenFiles(1)

    async def scenario() -> None:
        listing = files.place(for_directory=True)
        await listing.take()
        waiting = asyncio.create_task(files.place().take())
        await asyncio.sleep(0)
        assert not waiting.done()
        listing.keep()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scenario())


def test_a_refusal_that_was_for_the_moment_does_not_make_all_later_work_slow() -> None:
    files, server = OpenFiles(512), _Server(0)
    files.set_limit(64, told=True)

    async def scenario() -> None:
        first = [asyncio.create_task(_use(files, server, name)) for name in range(64)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server.limit = 1000
        await asyncio.gather(*first)
        assert files.limit < 64
        for _ in range(9):
            await asyncio.gather(*(_use(files, server, name) for name in range(1000)))
        assert files.limit == 64

    asyncio.run(asyncio.wait_for(scenario(), 60))
