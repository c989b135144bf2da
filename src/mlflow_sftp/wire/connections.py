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
    ServerFailureError,
    SftpError,
    UnreachableError,
)
from mlflow_sftp.settings import Settings
from mlflow_sftp.uri import Endpoint
from mlflow_sftp.wire.flow_control import CongestionWindow, MemoryBudget
from mlflow_sftp.wire.login import (
    PublickeyFirstClient,
    acknowledge_at_once,
    ask_for_sign_of_life,
    read_options,
    suppress_ignore_packets,
    translate_error,
)
from mlflow_sftp.wire.open_files import OpenFiles
from mlflow_sftp.wire.packets import SessionLostError
from mlflow_sftp.wire.remote_command import NoChannelError, run_command
from mlflow_sftp.wire.server_traits import server_traits
from mlflow_sftp.wire.session import SILENCE_SECONDS, SftpSession

_log = logging.getLogger(__name__)
T = TypeVar("T")

# What the server may send without being asked again: enough for 1 Gbit/s over 250 ms.
_RECEIVE_WINDOW = 32 << 20
# After so many seconds a request made now is certainly on its way.
_REQUEST_SENT_SECONDS = 0.001
_LARGE_FILES_AT_ONCE = 4
# How long a server that granted fewer sessions than wanted is not asked again.
_REFUSED_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
# Of several requests on a session that a defective answer ends, only one is to blame: the others go on, a few times.
_DEFECTS_FORGIVEN = 3


@dataclass(slots=True)
class Connection:
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
    """An attempt to connect, and its session, which takes requests earlier than the task ends."""

    task: asyncio.Task[Connection]
    early_session: asyncio.Future[SftpSession]


class Connections:
    """All connections of this process to one endpoint; methods run on the event loop.

    `memory_budget` bounds the bytes of file contents held at once; without one, `settings.memory` does.
    `comparison_budget` bounds in the same way what is read back. `open_files` has the places for what is open on the
    server; who needs one takes it before any of that memory.
    """

    def __init__(
        self, endpoint: Endpoint, settings: Settings, memory_budget: MemoryBudget | None = None
    ) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.name = str(endpoint)
        self.memory_budget = memory_budget or MemoryBudget(settings.memory << 20)
        self.congestion_window = CongestionWindow(self.memory_budget)
        # Of its own: contents are compared by those who may hold some of the other, and at no limited rate.
        self.comparison_budget = MemoryBudget(settings.memory << 20)
        self.large_files = asyncio.Semaphore(_LARGE_FILES_AT_ONCE)
        self.open_files = OpenFiles(settings.max_requests)
        self.traits = server_traits(endpoint, settings)
        self._options: asyncssh.SSHClientConnectionOptions | None = None
        self._connection: Connection | None = None
        self._opening: _Opening | None = None
        self._extra_connections: list[Connection] = []
        self._command_connection: Connection | None = None
        self._extra_sessions: list[SftpSession] = []
        self._extra_sessions_lock = asyncio.Lock()
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
        before_handshake: bool = False,
    ) -> T:
        """Run `action(session)`; when the connection drops, bring it back and run it again.

        `action` must be safe to repeat. With `before_handshake` it may run before the server has told version and
        extensions, which saves a round trip where the connection is new; it must not ask for extensions then. Given up
        `retry_timeout` seconds after the first drop since `progress()` last changed: ConnectionDroppedError.
        """
        with self._in_use():
            loop = asyncio.get_running_loop()
            deadline, reached, pause = 0.0, progress(), _FIRST_PAUSE / 4
            defects = 0
            while True:
                session, opening = await self._session(operation, before_handshake)
                try:
                    return await action(session)
                except SessionLostError as lost:
                    if opening is not None:
                        # Raises the reason, where no session is to be had at all.
                        await self._opened_connection(opening, operation)
                    now = loop.time()
                    if not deadline or progress() != reached:
                        deadline, reached = now + self.settings.retry_timeout, progress()
                        pause = _FIRST_PAUSE / 4
                    defects += lost.defective
                    if defects > _DEFECTS_FORGIVEN:
                        raise ServerFailureError(
                            operation,
                            self.name,
                            lost.args[0],
                            "Another client of this server may do no better.",
                        ) from None
                    if now + pause > deadline:
                        raise ConnectionDroppedError(
                            operation, self.name, f"the connection dropped and dropped again: {lost.args[0]}"
                        ) from None
                    _log.info(
                        "%s: %s while trying to %s; connecting again", self.name, lost.args[0], operation
                    )
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)

    async def connected(self, operation: str = "connect") -> Connection:
        """Return the living main connection; all who wait for it share one attempt to open it."""
        if self._connection is not None and self._connection.alive:
            return self._connection
        return await self._opened_connection(self._open().task, operation)

    def max_concurrent_files(self) -> int:
        """How many files may be worked on at once: what the settings and the server's limit of open files allow."""
        return self.open_files.limit

    async def session(self) -> SftpSession:
        """Return the main session, its limits known."""
        session = await self.attempt("connect", SftpSession.limits)
        self.congestion_window.round_trip = min(self.congestion_window.round_trip, session.round_trip)
        return session

    async def _session(
        self, operation: str, before_handshake: bool
    ) -> tuple[SftpSession, "asyncio.Task[Connection] | None"]:
        """Return the main session and, if that is still being opened, the task that does it."""
        if not before_handshake or (self._connection is not None and self._connection.alive):
            return (await self.connected(operation)).session, None
        opening = self._open()
        events: set[asyncio.Future[Any]] = {*opening}
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        if opening.early_session.done() and opening.early_session.result().alive:
            return opening.early_session.result(), opening.task
        return (await self._opened_connection(opening.task, operation)).session, None

    def _open(self) -> _Opening:
        if self._opening is None:
            early_session = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._connect_with_retries(early_session))
            self._opening = _Opening(task, early_session)
            self._opening.task.add_done_callback(self._opened)
        return self._opening

    @staticmethod
    async def _opened_connection(opening: "asyncio.Task[Connection]", operation: str) -> Connection:
        try:
            return await asyncio.shield(opening)
        except SftpError as error:
            raise type(error)(operation, error.endpoint, error.seen, error.remedy) from error.__cause__

    def send_unawaited(self, request: Callable[[SftpSession], object]) -> None:
        """Queue a request nobody waits for, if there is a connection at all."""
        if self._connection is not None and self._connection.alive:
            request(self._connection.session)

    async def extra_sessions(self, count: int) -> list[SftpSession]:
        """Return up to `count` more sessions for large files; none where the server grants no more.

        They are channels of the main connection: each has a window of its own, which is what limits a long link,
        and opens in two round trips without logging in again. Only a server that allows few channels gets more
        connections.
        """
        connection = await self.connected()
        async with self._extra_sessions_lock:
            self._extra_sessions = [session for session in self._extra_sessions if session.alive]
            missing = min(count, self.settings.max_sessions) - len(self._extra_sessions)
            if missing > 0 and asyncio.get_running_loop().time() >= self._refused_until:
                granted = await self._more_sessions(connection, missing)
                self._extra_sessions.extend(granted)
                if len(granted) < missing:
                    self._refused_until = asyncio.get_running_loop().time() + _REFUSED_SECONDS
        return self._extra_sessions[:count]

    async def _more_sessions(self, connection: Connection, count: int) -> list[SftpSession]:
        channels = await asyncio.gather(
            *(self._open_session(connection.ssh) for _ in range(count)), return_exceptions=True
        )
        granted = [session for session in channels if isinstance(session, SftpSession)]
        self._extra_connections = [each for each in self._extra_connections if each.alive]
        allowed = self.settings.max_connections - 1 - len(self._extra_connections)
        opened = await asyncio.gather(
            *(self._connect() for _ in range(min(count - len(granted), allowed))), return_exceptions=True
        )
        added = [each for each in opened if isinstance(each, Connection)]
        self._extra_connections.extend(added)
        return granted + [each.session for each in added]

    async def _open_session(
        self, ssh: asyncssh.SSHClientConnection, on_open: Callable[[SftpSession], object] = lambda _: None
    ) -> SftpSession:
        session = SftpSession(
            self.settings.stall_timeout,
            on_open,
            self._log_silence,
            busy_timeout=self.settings.busy_timeout,
            ask_peer=lambda: ask_for_sign_of_life(ssh),
        )
        asyncio.get_running_loop().call_later(_REQUEST_SENT_SECONDS, acknowledge_at_once, ssh)
        await ssh.create_session(lambda: session, subsystem="sftp", encoding=None, window=_RECEIVE_WINDOW)
        await session.ready()
        session.when_limits_are_known(self._take_limit)
        return session

    def _take_limit(self, session: SftpSession) -> None:
        self.open_files.set_limit(session.max_handles, told=session.tells_max_handles)

    async def run(self, command: bytes, seconds: float | None) -> bytes:
        """Run a command on the server, without input, and return its output.

        CommandError where the server runs none or not this one, or it takes longer; SessionLostError after a drop.
        Where the server opens no further channel, a connection of its own carries it.
        """
        connection = await self.connected()
        try:
            return await run_command(connection.ssh, command, seconds)
        except NoChannelError as refusal:
            connection = await self._connection_for_commands(refusal)
        return await run_command(connection.ssh, command, seconds)

    async def _connection_for_commands(self, refusal: NoChannelError) -> Connection:
        """Return the connection for commands, opened if `max_connections` allows; otherwise raise the refusal."""
        async with self._extra_sessions_lock:
            if self._command_connection is not None and self._command_connection.alive:
                return self._command_connection
            self._extra_connections = [each for each in self._extra_connections if each.alive]
            if 1 + len(self._extra_connections) >= self.settings.max_connections:
                raise refusal
            try:
                self._command_connection = await self._connect()
            except SftpError as error:
                raise NoChannelError(f"nor a further connection: {error.seen}") from error
            self._extra_connections.append(self._command_connection)
            return self._command_connection

    async def close(self) -> None:
        """Close every connection; the next use opens a new one."""
        connections = [*self._extra_connections, *([self._connection] if self._connection else [])]
        self._extra_connections, self._extra_sessions, self._connection = [], [], None
        for connection in connections:
            connection.close()
        for connection in connections:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.ssh.wait_closed(), 1)

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

    def _opened(self, task: "asyncio.Task[Connection]") -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            before, self._connection = self._connection, task.result()
            if before is not None and not before.alive:
                before.ssh.abort()  # Its SFTP session has ended; SSH may live on, and count as one more login.

    async def _connect_with_retries(self, early_session: "asyncio.Future[SftpSession]") -> Connection:
        """Connect, again and again where that may help; `early_session` gets the first that takes requests."""

        def on_open(session: SftpSession) -> None:
            if not early_session.done():
                early_session.set_result(session)

        deadline = asyncio.get_running_loop().time() + self.settings.retry_timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._connect(on_open)
            except UnreachableError as error:
                # Half to full pause, so that many processes do not come back in step.
                wait = pause * (0.5 + random.random() / 2)  # noqa: S311  # no secret depends on it
                if asyncio.get_running_loop().time() + wait > deadline:
                    raise
                _log.info("%s Trying again in %.1f s.", error, wait)
                await asyncio.sleep(wait)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connect(self, on_open: Callable[[SftpSession], object] = lambda _: None) -> Connection:
        loop = asyncio.get_running_loop()
        started = loop.time()
        ssh: asyncssh.SSHClientConnection | None = None
        try:
            async with asyncio.timeout(self.settings.connect_timeout):
                options = await self._connect_options()
                with self._report_silence():
                    ssh = await asyncssh.connect(
                        self.endpoint.host, options=options, client_factory=PublickeyFirstClient
                    )
                suppress_ignore_packets(ssh)
                session = await self._open_session(ssh, on_open)
        except BaseException as error:
            if ssh is not None:
                ssh.abort()
            if isinstance(error, Exception) and not isinstance(error, SftpError):
                raise translate_error(error, self.name, self.settings.connect_timeout) from error
            raise
        return Connection(ssh, session, loop.time() - started)

    @contextlib.contextmanager
    def _report_silence(self) -> Iterator[None]:
        """Tell now and again that a server does not answer, as a session does once it is open."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        due: asyncio.TimerHandle

        def tell() -> None:
            nonlocal due
            self._log_silence(loop.time() - started)
            due = loop.call_later(SILENCE_SECONDS, tell)

        due = loop.call_later(SILENCE_SECONDS, tell)
        try:
            yield
        finally:
            due.cancel()

    def _log_silence(self, seconds: float) -> None:
        _log.info("%s has not answered for %.0f s; still waiting", self.name, seconds)

    async def _connect_options(self) -> asyncssh.SSHClientConnectionOptions:
        if self._options is None:
            self._options = await asyncio.to_thread(read_options, self.endpoint, self.settings)
        return self._options


_registry: dict[tuple[Endpoint, Settings], Connections] = {}


async def connections(endpoint: Endpoint, settings: Settings) -> Connections:
    """Return this process's connections to an endpoint; none is opened yet. Runs on the event loop."""
    key = (endpoint, settings)
    if key not in _registry:
        _registry[key] = Connections(endpoint, settings)
    return _registry[key]


def _drop_inherited() -> object:
    # The sockets stay open in the child on purpose: closing them here could confuse the parent's loop, and an
    # SSH connection ends by a message, not by the last copy of its descriptor.
    inherited = dict(_registry)
    _registry.clear()
    return inherited


async def close_all() -> None:
    """Close every connection of this process."""
    await asyncio.gather(*(each.close() for each in _registry.values()))


event_loop.at_exit(close_all)
event_loop.after_fork(_drop_inherited)
