# SPDX-License-Identifier: Apache-2.0
"""One root on the server: trying again after a drop, staying below the root, errors that explain themselves.

What is done below it are functions that take a `Remote`: listing, directories, removal, upload, download, checksum.
"""

import asyncio
import posixpath
import re
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from mlflow_sftp.errors import (
    InvalidPathError,
    NoSpaceError,
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    SftpError,
)
from mlflow_sftp.transfer import aside, temporary_names
from mlflow_sftp.transfer.known_directories import known_directories
from mlflow_sftp.transfer.lookup import complete_attributes
from mlflow_sftp.uri import decode, encode
from mlflow_sftp.wire.connections import Connections
from mlflow_sftp.wire.packets import (
    FX_FAILURE,
    FX_NO_SUCH_FILE,
    FX_PERMISSION_DENIED,
    Attributes,
    BadAnswerError,
    Space,
    StatusError,
)
from mlflow_sftp.wire.session import SftpSession

T = TypeVar("T")
# Of a listing that is only looked through; an endless one proves nothing.
_MOST_ANSWERS = 10_000
# So do so many answers without a name, one after the other; one of them does not yet mean the end.
_MOST_EMPTY = 4
# What a server says of a full disk; "namespace" is no such thing.
_NO_SPACE = re.compile(r"\b(space|quota)\b", re.IGNORECASE)


class Remote:
    """Operations below `root`, an absolute path on the server.

    Paths given are absolute. Methods run on the event loop, are safe to repeat after a drop of the
    connection, and raise SftpError.

    Attributes:
        known_directories: Those known to exist on the server, for all roots on these connections.
        directories_being_made: Under way below this root, by path; whoever needs one waits for the same task.
        directories_being_checked: The same for those known to exist, of which it is asked where they really are.
    """

    def __init__(self, connections: Connections, root: str) -> None:
        self.connections = connections
        self.root = root
        self.name = connections.name
        self.known_directories = known_directories(connections)
        self._real_root = b""
        self.directories_being_made: dict[str, asyncio.Task[None]] = {}
        self.directories_being_checked: dict[str, asyncio.Task[None]] = {}

    async def attempt(
        self,
        operation: str,
        action: Callable[[SftpSession], Awaitable[T]],
        *,
        progress: Callable[[], int] = lambda: 0,
        needs: int = 1,
        before_handshake: bool = False,
    ) -> T:
        """Like Connections.attempt, with error statuses explained; `needs` is the bytes of disk it takes."""
        try:
            return await self.connections.attempt(
                operation, action, progress=progress, before_handshake=before_handshake
            )
        except StatusError as error:
            raise await self._translate_status(operation, error, needs) from error

    async def stat(self, path: str) -> Attributes | None:
        """Attributes of what `path` leads to; None where there is nothing, and for a dangling link."""

        async def look(session: SftpSession) -> Attributes | None:
            check = self.containment_check(session, path)
            answer = session.stat(encode(path))
            await check()
            try:
                found = await aside.stat(session, encode(path), answer)
                return await complete_attributes(session, encode(path), found)
            except StatusError as error:
                if path == "/":
                    return Attributes(mode=stat.S_IFDIR)  # Which not every server lets a client look at.
                if await is_missing(session, encode(path), error):
                    return None
                raise

        return await self.attempt(f"look at {path}", look, before_handshake=True)

    def containment_check(self, session: SftpSession, path: str) -> Callable[[], Awaitable[None]]:
        """Ask where `path` really is; await the returned function to get InvalidPathError if that is outside the root.

        The questions are sent at once, so that requests made before awaiting travel with them.
        """
        if is_within(encode(self.root), encode(path)) or self._becomes_the_root(path):
            return _no_check  # The root, or a directory above it that is being made.
        root = None if self._real_root else session.realpath(encode(self.root))
        answer = session.realpath(encode(path))

        async def check() -> None:
            try:
                if root is not None:
                    self._real_root = await root
                real = await answer
                if not is_within(real, self._real_root):
                    # The root may be a link that leads elsewhere by now.
                    self._real_root = await session.realpath(encode(self.root))
            except StatusError:
                return  # It does not exist; what is done with it next will say so.
            if not is_within(real, self._real_root):
                raise InvalidPathError(
                    f"use {path}",
                    self.name,
                    f"a link leads out of {self.root}, to {decode(real)}",
                    "Remove that link.",
                )

        return check

    def _becomes_the_root(self, path: str) -> bool:
        """Tell whether a path is that of an unfinished file beside the root, which is a file itself."""
        directory, name = posixpath.split(path)
        return directory == posixpath.dirname(self.root) and temporary_names.is_temporary(encode(name))

    async def space(self, path: str) -> Space | None:
        """The space on the file system of `path`, which exists; None where the server does not tell."""
        traits = self.connections.traits

        async def ask(session: SftpSession) -> Space | None:
            if traits.has_statvfs is False or not session.announces_statvfs:
                return None
            try:
                space = await session.statvfs(encode(path))
            except StatusError as error:
                if error.code in (FX_NO_SUCH_FILE, FX_PERMISSION_DENIED):
                    return None  # That is about the path.
                space = None
            traits.has_statvfs = traits.has_statvfs or space is not None
            return space

        return await self.connections.attempt(f"ask for free space at {path}", ask)

    async def _translate_status(self, operation: str, error: StatusError, needs: int) -> SftpError:
        if error.code == FX_NO_SUCH_FILE:
            return NotFoundError(operation, self.name, "there is no such file or directory")
        if error.code == FX_PERMISSION_DENIED:
            return PermissionRefusedError(operation, self.name, "permission denied")
        if error.code == FX_FAILURE and _NO_SPACE.search(error.message):
            return NoSpaceError(operation, self.name, error.message)
        if error.code == FX_FAILURE:
            with suppress(SftpError):
                if (space := await self.space(self.root)) is not None and space.free < needs:
                    seen = f"{space.free} bytes are free and {needs} are needed"
                    return NoSpaceError(operation, self.name, seen)
        remedy = "The server is at fault; try a newer one." if isinstance(error, BadAnswerError) else ""
        return ServerFailureError(operation, self.name, str(error), remedy)


async def is_missing(session: SftpSession, path: bytes, refusal: StatusError) -> bool:
    """Tell whether a request on `path` was refused because there is nothing.

    Where the status does not say so, the listing of the directory does, if it can be had.
    """
    if refusal.code == FX_NO_SUCH_FILE:
        return True
    directory, name = posixpath.split(path)
    if refusal.code not in (FX_FAILURE, FX_PERMISSION_DENIED) or not name:
        return False
    try:
        handle = await session.opendir(directory)
    except StatusError as error:
        return await is_missing(session, directory, error)
    empty = 0
    try:
        for _ in range(_MOST_ANSWERS):
            batch = await session.readdir(handle)
            if batch is None:
                return True
            empty = 0 if batch else empty + 1
            if empty == _MOST_EMPTY or any(each.name == name for each in batch):
                return False
    except StatusError:
        return False
    finally:
        with suppress(StatusError):
            await session.close_handle(handle)  # Before that some servers open nothing else.
    return False


async def _no_check() -> None:
    return


def is_within(path: bytes, directory: bytes) -> bool:
    """Tell whether an absolute path is a directory or lies below it, by its letters alone."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
