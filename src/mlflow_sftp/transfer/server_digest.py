# SPDX-License-Identifier: Apache-2.0
"""SHA-256 as the server computes it: by a command where the account has a shell, or by check-file.

Whether a server can is tried once, within a time. A command is only believed once it has shown that it sees the files
that SFTP shows: an SFTP root may be virtual, and the same path beside it another file.
"""

import asyncio
import contextlib
import logging
import posixpath
import re
import secrets
import shlex
from weakref import WeakKeyDictionary

from mlflow_sftp.errors import SftpError, UnreachableError
from mlflow_sftp.transfer import temporary_names
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.connections import Connections
from mlflow_sftp.wire.packets import CREATE, FX_OP_UNSUPPORTED, TRUNCATE, WRITE, StatusError
from mlflow_sftp.wire.remote_command import CommandError, FailedCommandError, NoChannelError
from mlflow_sftp.wire.session import SftpSession

_log = logging.getLogger(__name__)

# How long a server may take to show that it answers at all.
_PROBE_SECONDS = 10.0
# Bytes a second that a sum takes on a slow disk; one that takes longer is not waited for.
_LEAST_RATE = 4 << 20
_COMMANDS_AT_ONCE = 8
# How long a server that had no channel for a command is not asked again.
_REFUSED_SECONDS = 60.0
# Of GNU, BusyBox and Perl; of the BSDs.
_PROGRAMS = ("sha256sum", "shasum -a 256", "sha256 -q")
# Takes longer to start, and then uses what the processor has for it: five times as fast as many a sha256sum.
_LARGE_FILE_PROGRAM, _LARGE_FILE = "openssl dgst -sha256 -r", 8 << 20
# The last line: a greeting may stand before it.
_SUM = re.compile(rb"(?:.*\n)?([0-9a-f]{64})(?:[ \t][^\n]*)?\s*", re.DOTALL)


async def server_digest(remote: Remote, path: str, size: int | None) -> str | None:
    """Return the SHA-256 (hexadecimal) that the server tells of a file; None where it cannot, or now cannot.

    `size` (bytes, None where it is not known) only decides which program is asked first.
    """
    digest = await _ask_shell(remote, path, size)
    return digest if digest is not None else await _ask_check_file(remote, path)


def distrust(remote: Remote) -> None:
    """Ask this server for no sum any more: one that it told was not that of the file."""
    remote.connections.traits.has_shell = remote.connections.traits.has_check_file = False


class _Shell:
    """Commands on one endpoint: only one finds out whether there are any, and no more run than there are channels."""

    def __init__(self) -> None:
        self.probing = asyncio.Lock()
        self.refused_until = 0.0
        # Directories in which nothing can be shown: they may not be written to.
        self.unwritable: set[str] = set()
        self._limit = _COMMANDS_AT_ONCE
        self._running = 0
        self._ended = asyncio.Condition()

    async def run(self, connections: Connections, command: bytes) -> bytes:
        """Run a command as soon as a channel is to be had; see `Connections.run`."""
        while True:
            async with self._ended:
                await self._ended.wait_for(lambda: self._running < self._limit)
                self._running += 1
            try:
                return await connections.run(command, None)
            except NoChannelError:
                if self._running == 1:
                    raise
                self._limit = self._running - 1
            finally:
                async with self._ended:
                    self._running -= 1
                    self._ended.notify_all()


_shells: WeakKeyDictionary[Connections, _Shell] = WeakKeyDictionary()


async def find_shell(remote: Remote, directory: str) -> None:
    """Find out whether commands can tell sums, so that nobody has to wait for that when the first one is needed."""
    with contextlib.suppress(SftpError, NoChannelError):
        await _find_shell(remote, directory)


async def _find_shell(remote: Remote, directory: str) -> _Shell | None:
    """Return what runs commands; None where nothing does, or now does not."""
    traits = remote.connections.traits
    shell = _shells.setdefault(remote.connections, _Shell())
    loop = asyncio.get_running_loop()
    try:
        async with shell.probing:
            may_ask = directory not in shell.unwritable and loop.time() >= shell.refused_until
            if traits.has_shell is None and may_ask:
                traits.has_shell = await _sees_the_same_files(remote, directory)
                if traits.has_shell is None:
                    shell.unwritable.add(directory)
    except NoChannelError:
        shell.refused_until = loop.time() + _REFUSED_SECONDS
    return shell if traits.has_shell else None


async def _ask_shell(remote: Remote, path: str, size: int | None) -> str | None:
    if remote.connections.traits.has_shell is False:
        return None
    shell = await _find_shell(remote, posixpath.dirname(path))
    if shell is None:
        return None
    try:
        return await _sum_of(remote, shell, path, size)
    except NoChannelError:
        shell.refused_until = asyncio.get_running_loop().time() + _REFUSED_SECONDS
        return None


async def _sum_of(remote: Remote, shell: _Shell, path: str, size: int | None) -> str | None:
    file = shlex.quote(path)
    programs = (_LARGE_FILE_PROGRAM, *_PROGRAMS) if size is not None and size >= _LARGE_FILE else _PROGRAMS
    command = encode(" || ".join(f"{program} < {file}" for program in programs))

    async def run(_: SftpSession) -> bytes:
        return await shell.run(remote.connections, command)

    summing = asyncio.create_task(remote.attempt(f"ask for the sum of {path}", run))
    try:
        found = _SUM.fullmatch(await _within_reason(remote, path, summing))
    except NoChannelError:
        raise
    except FailedCommandError:
        return None
    except (CommandError, TimeoutError) as error:
        _log.info("%s: commands are not asked for sums any more: %s", remote.name, error or "one did not end")
        remote.connections.traits.has_shell = False
        return None
    finally:
        summing.cancel()
    return found[1].decode() if found else None


async def _within_reason(remote: Remote, path: str, summing: "asyncio.Task[bytes]") -> bytes:
    """Wait for a sum, for as long as a slow disk takes for the file; TimeoutError after that.

    A dead line is found out by SSH's own keepalive meanwhile.
    """
    done, _ = await asyncio.wait({summing}, timeout=remote.connections.settings.stall_timeout)
    if not done:
        found = await remote.stat(path)
        size = found.size or 0 if found is not None else 0
        done, _ = await asyncio.wait({summing}, timeout=size / _LEAST_RATE)
    if not done:
        raise TimeoutError
    return summing.result()


async def _sees_the_same_files(remote: Remote, directory: str) -> bool | None:
    """Tell whether a command reads what was just written by SFTP; None where nothing can be written."""
    path, token = posixpath.join(directory, temporary_names.temporary()), secrets.token_hex(16).encode()

    async def write(session: SftpSession) -> None:
        async with remote.connections.open_files.place() as place:
            handle = await place.open(lambda: session.open(encode(path), WRITE | CREATE | TRUNCATE))
            await session.write(handle, 0, token)
            await session.close_handle(handle)

    async def read(_: SftpSession) -> bytes:
        return await remote.connections.run(b"cat < " + encode(shlex.quote(path)), _PROBE_SECONDS)

    async def remove(session: SftpSession) -> None:
        with contextlib.suppress(StatusError):
            await session.remove(encode(path))

    try:
        await remote.attempt(f"write {path}", write)
        found = (await remote.attempt(f"read {path}", read)).rstrip().endswith(token)
    except NoChannelError:
        await remote.attempt(f"remove {path}", remove)
        raise
    except CommandError:
        found = False
    except SftpError as error:
        if isinstance(error, UnreachableError):
            raise
        return None
    except asyncio.CancelledError:
        remote.connections.send_unawaited(lambda session: session.remove(encode(path)))
        raise
    # Waited for, and sent again after a drop: it must not stay.
    await remote.attempt(f"remove {path}", remove)
    return found


async def _ask_check_file(remote: Remote, path: str) -> str | None:
    traits = remote.connections.traits

    async def ask(session: SftpSession) -> str | None:
        if traits.has_check_file is None:
            # Of one byte, which takes no time.
            await asyncio.wait_for(_check_file(session, path, 1), _PROBE_SECONDS)
            traits.has_check_file = True
        return await _check_file(session, path, 0)

    if traits.has_check_file is False:
        return None
    try:
        return await remote.connections.attempt(f"ask for the sum of {path}", ask)
    except TimeoutError:
        traits.has_check_file = False
    except StatusError as error:
        if error.code == FX_OP_UNSUPPORTED and traits.has_check_file is None:
            # Of an empty file ProFTPD says the same, though it can tell of others.
            found = await remote.stat(path)
            traits.has_check_file = False if found is not None and found.size else None
    return None


async def _check_file(session: SftpSession, path: str, size: int) -> str | None:
    """Ask for the hash of the first `size` bytes, 0 for all (draft-ietf-secsh-filexfer-extensions).

    None where the answer is another. ProFTPD can tell and does not say so in protocol version 3.
    """
    fields = b"".join(len(text).to_bytes(4) + text for text in (encode(path), b"sha256"))
    answer = await session.extended(b"check-file-name", fields + bytes(8) + size.to_bytes(8) + bytes(4))
    name_length = int.from_bytes(answer[:4])
    digest = answer[4 + name_length :]
    return digest.hex() if answer[4 : 4 + name_length] == b"sha256" and len(digest) == 32 else None
