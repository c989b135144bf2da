# SPDX-License-Identifier: Apache-2.0
"""Connections of this process to one endpoint: opened on first use, shared, kept alive, brought back after a drop."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import asyncssh

from mlflow_sftp import event_loop
from mlflow_sftp.errors import (
    ConnectionDroppedError,
    SftpError,
    UnreachableError,
)
from mlflow_sftp.settings import Settings
from mlflow_sftp.uri import Endpoint
from mlflow_sftp.wire.flow_control import Budget, Flight
from mlflow_sftp.wire.login import (
    PublickeyFirstClient,
    acknowledge_at_once,
    read_options,
    suppress_ignore_packets,
    translate_error,
)
from mlflow_sftp.wire.packets import SessionLostError
from mlflow_sftp.wire.session import SAFE_HANDLES, SftpSession

_log = logging.getLogger(__name__)
T = TypeVar("T")

# What the server may send without being asked again: enough for 1 Gbit/s over 250 ms.
_RECEIVE_WINDOW = 32 << 20
# When a request made now is certainly on its way, in seconds.
_REQUEST_SENT = 0.001
_LARGE_FILES_AT_ONCE = 4
# How long a server that granted fewer sessions than wanted is not asked again.
_REFUSED_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0


@dataclass(slots=True)
class Link:
    """One TCP connection with one SFTP session on it. `setup` is the seconds it took to open."""

    ssh: asyncssh.SSHClientConnection
    session: SftpSession
    setup: float

    @property
    def alive(self) -> bool:
        return self.session.alive

    def close(self) -> None:
        self.session.close()
        self.ssh.close()


class _Opening(NamedTuple):
    """An attempt to open the main connection, and its session, which takes requests earlier than the task ends."""

    task: asyncio.Task[Link]
    begun: asyncio.Future[SftpSession]


class Connections:
    """All connections of this process to one endpoint; methods run on the background loop."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.name = str(endpoint)
        self.budget = Budget(settings.memory << 20)
        self.flight = Flight(self.budget)
        self.large_files = asyncio.Semaphore(_LARGE_FILES_AT_ONCE)
        self.known_directories: set[bytes] = set()
        self.has_shell: bool | None = None
        self.has_check_file = True
        self._options: asyncssh.SSHClientConnectionOptions | None = None
        self._main: Link | None = None
        self._opening: _Opening | None = None
        self._extra: list[Link] = []
        self._lanes: list[SftpSession] = []
        self._lanes_lock = asyncio.Lock()
        self._refused_until = 0.0
        self._users = 0
        self._idle: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def attempt(
        self,
        operation: str,
        action: Callable[[SftpSession], Awaitable[T]],
        *,
        progress: Callable[[], int] = lambda: 0,
        early: bool = False,
    ) -> T:
        """Run `action(session)`; when the connection drops, bring it back and run it again.

        `action` must be safe to repeat. With `early` it may run before the server has greeted, which saves a round
        trip where the connection is new, and must not ask what extensions the server has. Given up `retry_timeout`
        seconds after the first drop since `progress()` last changed: ConnectionDroppedError.
        """
        with self._in_use():
            loop = asyncio.get_running_loop()
            deadline, reached, pause = 0.0, progress(), _FIRST_PAUSE / 4
            while True:
                session, opening = await self._session(operation, early)
                try:
                    return await action(session)
                except SessionLostError as lost:
                    if opening is not None:
                        # Raises the reason, where no session is to be had at all.
                        await self._opened_link(opening, operation)
                    now = loop.time()
                    if not deadline or progress() != reached:
                        deadline, reached = now + self.settings.retry_timeout, progress()
                        pause = _FIRST_PAUSE / 4
                    if now + pause > deadline:
                        raise ConnectionDroppedError(
                            operation, self.name, f"the connection dropped and dropped again: {lost.args[0]}"
                        ) from None
                    _log.info(
                        "%s: %s while trying to %s; connecting again", self.name, lost.args[0], operation
                    )
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)

    async def main(self, operation: str = "connect") -> Link:
        """Return the living main connection; all who wait for it share one attempt to open it."""
        if self._main is not None and self._main.alive:
            return self._main
        return await self._opened_link(self._open().task, operation)

    def width(self) -> int:
        """How many files may be worked on at once: what the settings and the server's limit of open files allow."""
        known = self._main.session.max_handles if self._main is not None else SAFE_HANDLES
        return min(self.settings.max_requests, known)

    async def session(self) -> SftpSession:
        """Return the main session, its limits known."""
        session = await self.attempt("connect", SftpSession.limits)
        self.flight.round_trip = min(self.flight.round_trip, session.round_trip)
        return session

    async def _session(self, operation: str, early: bool) -> tuple[SftpSession, "asyncio.Task[Link] | None"]:
        """Return the main session and, if that is still being opened, the task that does it."""
        if not early or (self._main is not None and self._main.alive):
            return (await self.main(operation)).session, None
        opening = self._open()
        events: set[asyncio.Future[Any]] = {*opening}
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        if opening.begun.done() and opening.begun.result().alive:
            return opening.begun.result(), opening.task
        return (await self._opened_link(opening.task, operation)).session, None

    def _open(self) -> _Opening:
        if self._opening is None:
            begun = asyncio.get_running_loop().create_future()
            self._opening = _Opening(asyncio.create_task(self._open_main(begun)), begun)
            self._opening.task.add_done_callback(self._opened)
        return self._opening

    @staticmethod
    async def _opened_link(opening: "asyncio.Task[Link]", operation: str) -> Link:
        try:
            return await asyncio.shield(opening)
        except SftpError as error:
            raise type(error)(operation, error.endpoint, error.seen, error.remedy) from error.__cause__

    def send_off(self, request: Callable[[SftpSession], object]) -> None:
        """Queue a request nobody waits for, if there is a connection at all."""
        if self._main is not None and self._main.alive:
            request(self._main.session)

    async def lanes(self, wanted: int) -> list[SftpSession]:
        """Return up to `wanted` more sessions for large files; none where the server grants no more.

        They are channels of the main connection: each has a window of its own, which is what limits a long link,
        and opens in two round trips without logging in again. Only a server that allows few channels gets more
        connections.
        """
        main = await self.main()
        async with self._lanes_lock:
            self._lanes = [session for session in self._lanes if session.alive]
            missing = min(wanted, self.settings.max_sessions) - len(self._lanes)
            if missing > 0 and asyncio.get_running_loop().time() >= self._refused_until:
                granted = await self._more_sessions(main, missing)
                self._lanes.extend(granted)
                if len(granted) < missing:
                    self._refused_until = asyncio.get_running_loop().time() + _REFUSED_SECONDS
        return self._lanes[:wanted]

    async def _more_sessions(self, main: Link, wanted: int) -> list[SftpSession]:
        channels = await asyncio.gather(
            *(self._open_session(main.ssh) for _ in range(wanted)), return_exceptions=True
        )
        granted = [session for session in channels if isinstance(session, SftpSession)]
        self._extra = [link for link in self._extra if link.alive]
        connections = min(wanted - len(granted), self.settings.max_connections - 1 - len(self._extra))
        links = await asyncio.gather(*(self._connect() for _ in range(connections)), return_exceptions=True)
        self._extra.extend(link for link in links if isinstance(link, Link))
        return granted + [link.session for link in links if isinstance(link, Link)]

    async def _open_session(
        self, ssh: asyncssh.SSHClientConnection, begun: Callable[[SftpSession], object] = lambda _: None
    ) -> SftpSession:
        session = SftpSession(self.settings.stall_timeout, begun)
        asyncio.get_running_loop().call_later(_REQUEST_SENT, acknowledge_at_once, ssh)
        await ssh.create_session(lambda: session, subsystem="sftp", encoding=None, window=_RECEIVE_WINDOW)
        await session.ready()
        return session

    async def run(self, command: str) -> str | None:
        """Run a command on the server and return its output; None where there is no shell or it fails."""
        link = await self.main()
        try:
            done = await link.ssh.run(command, encoding=None, stderr=asyncssh.DEVNULL)
        except (asyncssh.Error, OSError):
            return None
        if done.exit_status != 0 or not isinstance(done.stdout, bytes):
            return None
        return done.stdout.decode("utf-8", "replace")

    async def close(self) -> None:
        """Close every connection; the next use opens a new one."""
        links = [*self._extra, *([self._main] if self._main else [])]
        self._extra, self._lanes, self._main = [], [], None
        for link in links:
            link.close()
        for link in links:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(link.ssh.wait_closed(), 1)

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        self._users += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                loop = asyncio.get_running_loop()
                self._idle = loop.call_later(self.settings.idle_timeout, self._close_idle)

    def _close_idle(self) -> None:
        if not self._users:
            self._closing = asyncio.create_task(self.close())

    def _opened(self, task: "asyncio.Task[Link]") -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._main = task.result()

    async def _open_main(self, begun: "asyncio.Future[SftpSession]") -> Link:
        """Connect, again and again where that may help; `begun` gets the first session that takes requests."""

        def begin(session: SftpSession) -> None:
            if not begun.done():
                begun.set_result(session)

        deadline = asyncio.get_running_loop().time() + self.settings.retry_timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._connect(begin)
            except UnreachableError as error:
                # Half to full pause, so that many processes do not come back in step.
                wait = pause * (0.5 + random.random() / 2)  # noqa: S311  # no secret depends on it
                if asyncio.get_running_loop().time() + wait > deadline:
                    raise
                _log.info("%s; trying again in %.1f s", error, wait)
                await asyncio.sleep(wait)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connect(self, begun: Callable[[SftpSession], object] = lambda _: None) -> Link:
        loop = asyncio.get_running_loop()
        started = loop.time()
        ssh: asyncssh.SSHClientConnection | None = None
        try:
            async with asyncio.timeout(self.settings.connect_timeout):
                ssh = await asyncssh.connect(
                    self.endpoint.host,
                    options=await self._connect_options(),
                    client_factory=PublickeyFirstClient,
                )
                suppress_ignore_packets(ssh)
                session = await self._open_session(ssh, begun)
        except BaseException as error:
            if ssh is not None:
                ssh.abort()
            if isinstance(error, Exception) and not isinstance(error, SftpError):
                raise translate_error(error, self.name, self.settings.connect_timeout) from error
            raise
        return Link(ssh, session, loop.time() - started)

    async def _connect_options(self) -> asyncssh.SSHClientConnectionOptions:
        if self._options is None:
            self._options = await asyncio.to_thread(read_options, self.endpoint, self.settings)
        return self._options


_registry: dict[tuple[Endpoint, Settings], Connections] = {}


async def connections(endpoint: Endpoint, settings: Settings) -> Connections:
    """Return this process's connections to an endpoint; none is opened yet. Runs on the background loop."""
    key = (endpoint, settings)
    if key not in _registry:
        _registry[key] = Connections(endpoint, settings)
    return _registry[key]


def _disown() -> object:
    # The sockets stay open in the child on purpose: closing them here could confuse the parent's loop, and an
    # SSH connection ends by a message, not by the last copy of its descriptor.
    inherited = dict(_registry)
    _registry.clear()
    return inherited


async def close_all() -> None:
    """Close every connection of this process."""
    await asyncio.gather(*(each.close() for each in _registry.values()))


event_loop.at_process_end(close_all)
event_loop.in_forked_child(_disown)
