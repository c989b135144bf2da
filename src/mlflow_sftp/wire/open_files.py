# SPDX-License-Identifier: Apache-2.0
"""How many files and directories may be open at once on one server: found out, beginning with few.

OpenSSH tells its limit. Others have one and say nothing, or less than the truth: what cannot be opened while others are
open is tried again when fewer are, in the end alone. Some let one be open at a time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

from mlflow_sftp.wire.packets import FX_FAILURE, StatusError

# What is tried before anything is known of the server.
_FIRST = 16
# With fewer places than this a listing must not keep one while it waits for whoever works on its entries.
_SCARCE = 32
# After so many that were opened without a refusal more are tried again: it may have been for the moment.
_CALM = 1000


class OpenFiles:
    """Places for what is open on a server, directories among them: at most `limit` at once, first come first served.

    Directories get half of them, so that those who list and those whom they list for do not wait for each other.
    """

    def __init__(self, most: int) -> None:
        self.limit = min(_FIRST, most)
        self._most = most
        self._ceiling = most
        self._calm = 0
        self._told = False
        self._taken = 0
        self._directories = 0
        self._kept = 0
        self._confirmed = 0
        self._waiting: deque[tuple[Place, asyncio.Future[None]]] = deque()

    @property
    def scarce(self) -> bool:
        """Whether there are so few places that one must be given back before anything is waited for."""
        return self.limit < _SCARCE

    def place(self, *, for_directory: bool = False) -> "Place":
        """Return a place to be taken, as a context or with `take`."""
        return Place(self, for_directory)

    def set_limit(self, limit: int, *, told: bool) -> None:
        """Set what the server says that it allows (`told`), or what is not to be exceeded where it says nothing."""
        self._most, self._ceiling = min(self._most, limit), min(self._ceiling, limit)
        self._told = self._told or told
        self.limit = self._most if told else min(self.limit, self._most)
        self._wake()

    async def _take(self, place: "Place") -> None:
        if not self._waiting and self._fits(place):
            self._count(place, 1)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((place, turn))
        # Those before may be directories that have all they get, which is no reason to wait.
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(place)
            raise

    def _give_back(self, place: "Place") -> None:
        self._count(place, -1)
        self._wake()

    def _fits(self, place: "Place") -> bool:
        if place.for_directory and self._directories >= max(1, self.limit // 2):
            return False
        return self._is_room()

    def _is_room(self) -> bool:
        # What is kept waits for others, so one of them may always go on.
        return self._taken < max(self.limit, 1 + self._kept)

    def _count(self, place: "Place", change: int) -> None:
        self._taken += change
        self._directories += change if place.for_directory else 0

    def _wake(self) -> None:
        passed: deque[tuple[Place, asyncio.Future[None]]] = deque()
        while self._waiting and self._is_room():
            place, turn = self._waiting.popleft()
            if turn.done():
                continue
            if not self._fits(place):
                passed.append((place, turn))
                continue
            self._count(place, 1)
            turn.set_result(None)
        self._waiting.extendleft(reversed(passed))

    def _opened(self) -> None:
        self._confirmed += 1
        self._calm += 1
        if self._calm >= _CALM and self._most < self._ceiling:
            self._calm, self._most = 0, min(2 * self._most, self._ceiling)
        if self._confirmed >= self.limit < self._most:
            self.limit = min(2 * self.limit, self._most)
            self._wake()

    def _closed(self) -> None:
        self._confirmed -= 1

    def _is_crowded(self) -> bool:
        return self._taken - self._kept > 1

    def _refused(self, error: StatusError, attempts: int, was_crowded: bool) -> bool:
        """Tell whether a refusal may be for the number of what is, or was, open; fewer are allowed then."""
        if error.code != FX_FAILURE or not (was_crowded or self._is_crowded()):
            return False
        self._calm = 0
        self.limit = self._most = max(1 + self._kept, self._confirmed >> attempts)
        return True

    def _restore(self, most: int) -> None:
        """Allow as many as before: a refusal was about the file."""
        self._most = max(self._most, most)
        self.limit = max(self.limit, self._most if self._told else min(self._most, _FIRST))
        self._wake()


class Place:
    """A place for one open file or directory; given back at the end of its context, or by `give_back`."""

    def __init__(self, files: OpenFiles, for_directory: bool) -> None:
        self.for_directory = for_directory
        self._files = files
        self._taken = False
        self._open = False
        self._kept = False

    async def __aenter__(self) -> Self:
        await self.take()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.give_back()

    async def take(self) -> None:
        """Wait for the place; it may have been taken before."""
        if not self._taken:
            await self._files._take(self)
            self._taken = True

    def keep(self, kept: bool = True) -> None:
        """Tell that it stays open while others are waited for, who may need places too; or no longer does."""
        self._files._kept += kept - self._kept
        self._kept = kept
        self._files._wake()

    def give_back(self) -> None:
        """Tell that the file is closed, or never was opened."""
        self.keep(False)
        self._close()
        if self._taken:
            self._taken = False
            self._files._give_back(self)

    async def open(self, request: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the handle that `request()` brings; where too many are open it is asked for again when fewer are."""
        files = self._files
        most = files._most
        attempts = 0
        self._close()
        while True:
            was_crowded = files._is_crowded()
            try:
                handle = await request()
            except StatusError as error:
                if not files._refused(error, attempts, was_crowded):
                    if attempts:
                        files._restore(most)
                    raise
                attempts += 1
                self.give_back()
                await self.take()
                continue
            self._open = True
            files._opened()
            return handle

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._files._closed()
