# SPDX-License-Identifier: Apache-2.0
"""Replacing a file where the server cannot: the old one steps aside, and is brought back if the new one fails to come.

That takes two renames, and between them the only copy of the old file is aside. So what is aside is no leftover that
age could make worthless. Whoever comes across it, by listing its directory or by asking for the name, brings it back
if nothing has the name; it is removed only if something has.

With several processes at once that holds because a name to step aside to belongs to one replacement, and because what
has the old name after the old file was seen aside is newer than that: another upload, or the old file, brought back.
A writer whose old file was brought back under its hands begins again.
"""

import asyncio
import posixpath
import random
from collections.abc import Awaitable
from contextlib import suppress
from typing import NamedTuple

from mlflow_sftp.transfer import temporary_names
from mlflow_sftp.wire.packets import FX_NO_SUCH_FILE, Attributes, StatusError
from mlflow_sftp.wire.session import SftpSession

# How often a writer begins again because others publish under the same name, with a growing pause, seconds.
_ATTEMPTS, _PAUSE = 20, 0.01
# So many refusals while nothing has the name are not because of others that had it for a moment.
_REFUSALS = 4
# Answers with names of a directory, at most: no server that works sends so many.
_MOST_ANSWERS = 1_000_000


class Settled(NamedTuple):
    """Names that were brought back, and those that could not be, with what the server said."""

    brought_back: list[bytes]
    stuck: list[tuple[bytes, str]]


class _OldFile(NamedTuple):
    """An old file's path while it is aside, that which it had, and the directory made for it, if any."""

    path: bytes
    target: bytes
    room: bytes | None

    @property
    def name(self) -> bytes:
        return posixpath.basename(self.target)


def _old_file(directory: bytes, aside: temporary_names.Aside, name: bytes) -> _OldFile:
    path, target = posixpath.join(directory, aside.name), posixpath.join(directory, name)
    if aside.original is None:
        return _OldFile(posixpath.join(path, name), target, path)
    return _OldFile(path, target, None)


async def replace(session: SftpSession, temporary: bytes, target: bytes, refused: StatusError) -> None:
    """Give `temporary` the name of the file `target`, though the server has `refused` to rename over it.

    Raises what the server said where that is not because of the old file, which then has its name again.
    """
    directory, name = posixpath.split(target)
    old = _old_file(directory, temporary_names.aside(name), name)
    refusals = 0
    try:
        for attempt in range(_ATTEMPTS):
            if not await _step_aside(session, old, is_first=not attempt):
                break
            try:
                await session.rename(temporary, target)
            except StatusError as error:
                refused = error
            else:
                await _remove(session, old)
                return
            is_gone = await _look(session, temporary) is None
            refusals += not await _give_way(session, old)
            if is_gone or refusals == _REFUSALS:
                break
            await asyncio.sleep(random.uniform(0, _PAUSE * (attempt + 1)))  # noqa: S311  # no secret depends on it
    except asyncio.CancelledError:
        session.rename(old.path, target)
        raise
    finally:
        _remove_room(session, old)
    raise refused


async def settle(session: SftpSession, directory: bytes, listed: list[bytes]) -> Settled:
    """Of the names listed in `directory`: bring back what stepped aside, or remove it if there is a newer one."""
    settled = Settled([], [])
    for old in await _find_old_files(session, directory, listed):
        if await _look(session, old.target) is not None:
            await _remove(session, old)
            continue
        try:
            await session.rename(old.path, old.target)
        except StatusError as error:
            if await _look(session, old.path) is not None and await _look(session, old.target) is None:
                settled.stuck.append((old.name, error.message))
        else:
            settled.brought_back.append(old.name)
            _remove_room(session, old)
    return settled


async def stat(session: SftpSession, path: bytes, answer: Awaitable[Attributes]) -> Attributes:
    """Wait for the answer to a STAT of `path`; where that finds nothing, the file may have stepped aside."""
    try:
        return await answer
    except StatusError as error:
        if error.code != FX_NO_SUCH_FILE or not await bring_back(session, path):
            raise
    return await session.stat(path)


async def bring_back(session: SftpSession, path: bytes) -> bool:
    """Settle what stepped aside in the directory of `path`; tells whether that has its name again.

    Where the server replaces at once nothing steps aside, and nothing is asked.
    """
    if session.replaces_atomically:
        return False
    directory, name = posixpath.split(path)
    try:
        names = await _names(session, directory)
    except StatusError:
        return False
    return name in (await settle(session, directory, names)).brought_back


async def _step_aside(session: SftpSession, old: _OldFile, *, is_first: bool) -> bool:
    """Have the old file step aside, if there is one; False where it cannot, or is a directory."""
    there = await _look(session, old.target)
    if there is None:
        return True
    if there.is_directory:
        return False
    if not is_first:
        await _remove(session, old)  # Perhaps the one of the attempt before, older than what is there.
    if old.room is not None:
        with suppress(StatusError):  # It is there from the attempt before, or the next step fails too.
            await session.mkdir(old.room)
    try:
        await session.rename(old.target, old.path)
    except StatusError as error:
        # Somebody else was quicker to rename it, or has removed the directory while it was empty.
        return error.code == FX_NO_SUCH_FILE
    return True


async def _give_way(session: SftpSession, old: _OldFile) -> bool:
    """After a refusal: True if another file has the name by now, which is newer; else the old one gets it back."""
    if await _look(session, old.target) is None:
        try:
            await session.rename(old.path, old.target)
        except StatusError:
            if await _look(session, old.target) is None:
                return False
        else:
            return False
    await _remove(session, old)
    return True


async def _find_old_files(session: SftpSession, directory: bytes, listed: list[bytes]) -> list[_OldFile]:
    """Return what is aside, of several of one name the newest first."""
    found = []
    asides = filter(None, map(temporary_names.parse_aside, listed))
    for each in sorted(asides, key=lambda aside: aside.order, reverse=True):
        if each.original is not None:
            found.append(_old_file(directory, each, each.original))
            continue
        room = posixpath.join(directory, each.name)
        with suppress(StatusError):
            names = await _names(session, room)
            found.extend(_old_file(directory, each, name) for name in names)
            if not names:
                session.rmdir(room)
    return found


async def _names(session: SftpSession, directory: bytes) -> list[bytes]:
    handle = await session.opendir(directory)
    names: list[bytes] = []
    try:
        for _ in range(_MOST_ANSWERS):
            batch = await session.readdir(handle)
            if not batch:
                break
            names.extend(each.name for each in batch)
    finally:
        with suppress(StatusError):
            await session.close_handle(handle)  # Before that some servers open nothing else.
    return [name for name in names if name not in (b"", b".", b"..") and b"/" not in name]


async def _look(session: SftpSession, path: bytes) -> Attributes | None:
    try:
        return await session.lstat(path)
    except StatusError as error:
        if error.code == FX_NO_SUCH_FILE:
            return None
        raise


async def _remove(session: SftpSession, old: _OldFile) -> None:
    """Remove an old file that something newer has replaced."""
    try:
        await session.remove(old.path)
    except StatusError:
        return  # Nothing was there, or it stays until the next look.
    _remove_room(session, old)


def _remove_room(session: SftpSession, old: _OldFile) -> None:
    """Remove the directory of an old file if it is empty, without waiting for it."""
    if old.room is not None:
        session.rmdir(old.room)
