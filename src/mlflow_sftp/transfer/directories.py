# SPDX-License-Identifier: Apache-2.0
"""Making directories on the server; those known to exist are not asked for again."""

import asyncio
from collections.abc import Iterable

from mlflow_sftp.transfer.remote import Remote, is_missing, is_within
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.packets import CREATE, FX_FAILURE, FX_NO_SUCH_FILE, WRITE, StatusError
from mlflow_sftp.wire.session import SftpSession


async def make_directory(remote: Remote, path: str) -> None:
    """Make a directory and those above it; those known to exist are not asked for again."""
    making = begin_directory(remote, path)
    if making is not None:
        await asyncio.shield(making)


def begin_directory(remote: Remote, path: str) -> "asyncio.Task[None] | None":
    """Begin to make a directory and those above it; None where there is nothing to wait for.

    Of one that is known to exist it is asked where it really is: it may have become a link out of the root.
    """
    known = encode(path) in remote.known_directories
    if known and is_within(encode(remote.root), encode(path)):
        return None
    under_way = remote.directories_being_checked if known else remote.directories_being_made
    if path not in under_way:
        task = asyncio.create_task((_check_directory if known else _make_directory)(remote, path))
        under_way[path] = task
        task.add_done_callback(lambda done: _ended(under_way, path, done))
    return under_way[path]


def forget_directory(remote: Remote, path: str) -> None:
    """Ask for this directory and those above it again next time: it was found missing."""
    remote.known_directories.forget(path)


async def create_file(remote: Remote, session: SftpSession, path: bytes, directory: str, how: int) -> bytes:
    """Create a file for writing; its directory, if it was removed since it was last seen, too.

    `how` is EXCLUSIVE or TRUNCATE. Returns the handle.
    """
    try:
        return await session.open(path, WRITE | CREATE | how)
    except StatusError as error:
        if error.code != FX_NO_SUCH_FILE and not await _is_gone(session, encode(directory)):
            raise
    forget_directory(remote, directory)
    await make_directory(remote, directory)
    return await session.open(path, WRITE | CREATE | how)


async def _is_gone(session: SftpSession, directory: bytes) -> bool:
    try:
        await session.stat(directory)
    except StatusError as error:
        return await is_missing(session, directory, error)
    return False


def _ended(under_way: "dict[str, asyncio.Task[None]]", path: str, task: "asyncio.Task[None]") -> None:
    del under_way[path]
    if not task.cancelled():
        task.exception()  # Marks it as seen: not everybody who began it waits for it.


async def _check_directory(remote: Remote, path: str) -> None:
    async def check(session: SftpSession) -> None:
        await remote.containment_check(session, path)()

    await remote.attempt(f"use the directory {path}", check, before_handshake=True)


async def _make_directory(remote: Remote, path: str) -> None:
    operation = f"make the directory {path}"
    levels = remote.known_directories.missing_levels(path)

    async def make_at_once(session: SftpSession) -> bool:
        for level in levels:
            session.mkdir(level)
        check = remote.containment_check(session, path)
        answer = session.stat(encode(path))
        await check()
        try:
            return (await answer).is_directory
        except StatusError:
            return False

    async def make_one_by_one(session: SftpSession) -> None:
        failure: StatusError | None = None
        for level in levels:
            try:
                await session.mkdir(level)
            except StatusError as error:
                # A level that is missing because the one above could not be made is not the cause.
                if failure is None or error.code != FX_NO_SUCH_FILE:
                    failure = error
        try:
            if (await session.stat(encode(path))).is_directory:
                return
        except StatusError as error:
            raise failure or error from None
        raise StatusError(FX_FAILURE, "there is a file of this name")

    if not await remote.attempt(operation, make_at_once, before_handshake=True):
        await remote.attempt(operation, make_one_by_one)
    remote.known_directories.add(levels)


def deepest_first(directories: Iterable[str]) -> list[list[str]]:
    """Group directories by their depth, the deepest first: the order in which empty ones can be removed.

    Those of one group do not contain each other, so they may be removed at the same time.
    """
    by_depth: dict[int, list[str]] = {}
    for directory in directories:
        by_depth.setdefault(directory.count("/"), []).append(directory)
    return [by_depth[depth] for depth in sorted(by_depth, reverse=True)]
