# SPDX-License-Identifier: Apache-2.0
"""Handles of one file on the server, over several sessions."""

import asyncio
from collections.abc import Callable
from functools import partial

from mlflow_sftp.wire.session import SftpSession


class SessionHandles:
    """One file, open in each session that works on it.

    `open_file(session)` begins to open it there; a handle ends with its session.
    """

    def __init__(self, open_file: "Callable[[SftpSession], asyncio.Future[bytes]]") -> None:
        self._open_file = open_file
        self._handles: dict[SftpSession, asyncio.Future[bytes]] = {}

    async def get(self, session: SftpSession) -> bytes:
        """Return the handle in a session, opening the file there on first use."""
        if session not in self._handles:
            self._handles = {each: opening for each, opening in self._handles.items() if each.alive}
            self._handles[session] = self._open_file(session)
        return await asyncio.shield(self._handles[session])

    def add(self, session: SftpSession, opening: "asyncio.Future[bytes]") -> None:
        """Use the handle that `opening` brings in this session."""
        self._handles[session] = opening

    def forget(self) -> None:
        """Forget all handles: they are of another file, or could not be opened."""
        self._handles = {}

    def close(self) -> "list[asyncio.Future[None]]":
        """Close the file in every session; who has to know that it is closed waits for the answers returned.

        Where it is still being opened it is closed as soon as it is open.
        """
        handles, self._handles = self._handles, {}
        closing = []
        for session, opening in handles.items():
            if not opening.done():
                opening.add_done_callback(partial(_close, session))
            elif (answer := _close(session, opening)) is not None:
                closing.append(answer)
        return closing

    async def close_and_wait(self, seconds: float) -> None:
        """Close the file everywhere, also where it is still being opened, and wait a while for the answers."""
        if opening := [each for each in self._handles.values() if not each.done()]:
            await asyncio.wait(opening, timeout=seconds)
        if closing := self.close():
            await asyncio.wait(closing, timeout=seconds)


def _close(session: SftpSession, opening: "asyncio.Future[bytes]") -> "asyncio.Future[None] | None":
    if opening.cancelled() or opening.exception() is not None:
        return None
    return session.close_handle(opening.result())


def living(preferred: SftpSession | None, otherwise: SftpSession) -> SftpSession:
    """Return the session that is preferred while it lives."""
    return preferred if preferred is not None and preferred.alive else otherwise
