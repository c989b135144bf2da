# SPDX-License-Identifier: Apache-2.0
"""Commands on the server: without input, within a time, and with a bound on what they may say.

Servers differ in what they make of one: some run it, some refuse it, some start an SFTP server in its place, which
waits for input, and some accept it and never answer.
"""

import asyncio
from typing import Any

import asyncssh

from mlflow_sftp.wire.packets import SessionLostError

# A sum is 64 bytes long; there may be greetings around it.
_MOST_OUTPUT = 64 << 10


class CommandError(Exception):
    """The server runs no commands: it refused this one, did not end it in time, or did not stop talking."""


class NoChannelError(CommandError):
    """The server opens no further channel now, so that nothing is known of its commands."""


class FailedCommandError(CommandError):
    """The command ended with an exit status that is not 0."""


async def run_command(ssh: asyncssh.SSHClientConnection, command: bytes, seconds: float | None) -> bytes:
    """Run a command and return its output; CommandError where there is none, SessionLostError after a drop."""
    running = _Command()
    try:
        async with asyncio.timeout(seconds):
            await _start(ssh, running, command)
            status = await running.ended
    except TimeoutError:
        raise CommandError(f"the command did not end within {seconds:.0f} s") from None
    finally:
        running.abort()
    if status is None and ssh.is_closed():
        raise SessionLostError("the connection ended while a command ran")
    if running.too_much:
        raise CommandError(f"the command said more than {_MOST_OUTPUT} bytes")
    if status != 0:
        raise FailedCommandError(f"the command ended with the status {status}")
    return bytes(running.output)


async def _start(ssh: asyncssh.SSHClientConnection, running: "_Command", command: bytes) -> None:
    try:
        await ssh.create_session(
            lambda: running,
            command,  # type: ignore[arg-type]  # Paths need not be UTF-8; asyncssh sends bytes as they are.
            encoding=None,
            request_pty=False,
            window=_MOST_OUTPUT,
        )
    except asyncssh.ChannelOpenError as error:
        if error.code == asyncssh.OPEN_REQUEST_SESSION_FAILED:
            raise CommandError("the server refuses commands") from error
        if ssh.is_closed():
            raise SessionLostError(str(error.reason)) from error
        raise NoChannelError(str(error.reason)) from error
    except (asyncssh.Error, OSError) as error:
        raise SessionLostError(str(error)) from error


class _Command(asyncssh.SSHClientSession[bytes]):
    """What a command says, and in `ended` its exit status: None where it has none."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.too_much = False
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._channel: Any = None
        self._said = 0
        self._status: int | None = None

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def session_started(self) -> None:
        # An SFTP server that was started in its place ends with that.
        self._channel.write_eof()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._said += len(data)
        if self._said > _MOST_OUTPUT:
            self.too_much = True
            self._end()
            self.abort()
        elif datatype is None:
            self.output += data

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def abort(self) -> None:
        """Close the channel, if it is open."""
        if self._channel is not None:
            self._channel.abort()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(self._status)
