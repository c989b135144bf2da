# SPDX-License-Identifier: Apache-2.0
"""A store in a directory on an SFTP server."""

import dataclasses
import hashlib
import posixpath
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

from mlflow_sftp.errors import (
    NotFoundError,
    SftpError,
)
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import (
    ABOUT_ONE_FILE,
    ENTRY_KINDS,
    EntryKind,
    FileProblemError,
    Item,
    OnUnreadable,
)
from mlflow_sftp.stores.rate_limit import LimitedBudget, RateLimiter
from mlflow_sftp.transfer import aside, checksum, temporary_names
from mlflow_sftp.transfer.block_transfer import SMALL_FILE
from mlflow_sftp.transfer.directories import forget_directory, make_directory
from mlflow_sftp.transfer.download import get_bytes
from mlflow_sftp.transfer.listing import Entry, walk
from mlflow_sftp.transfer.remote import Remote, is_missing
from mlflow_sftp.uri import SftpUri, encode
from mlflow_sftp.wire.connections import Connections
from mlflow_sftp.wire.flow_control import MemoryBudget
from mlflow_sftp.wire.packets import Space, StatusError
from mlflow_sftp.wire.session import SftpSession

# Times come in whole seconds, on some file systems in steps of two.
_SETTLING_SECONDS = 2


class SftpStore:
    """A directory on an SFTP server, over connections of its own."""

    def __init__(self, uri: str, limiter: RateLimiter, settings: Settings) -> None:
        parsed = SftpUri.parse(uri)
        self.root = parsed.path
        self.name = str(parsed)
        # What is copied is compared here, file by file; once is enough.
        settings = dataclasses.replace(settings, verify="size")
        budget = LimitedBudget(settings.memory << 20, limiter)
        self._connections = Connections(parsed.endpoint, settings, budget)
        self._read_back = MemoryBudget(settings.memory << 20)
        self.remote = Remote(self._connections, self.root)
        self._settled: set[str] = set()

    def path(self, relative: str) -> str:
        return posixpath.join(self.root, relative) if relative else self.root

    def begin_writing(self) -> None:
        """Nothing to do: the server tells of each file whether it has it."""

    def max_concurrent_files(self) -> int:
        return self._connections.max_concurrent_files()

    async def walk(
        self, top: str, on_unreadable: OnUnreadable, *, recursive: bool = True
    ) -> AsyncGenerator[list[Item]]:
        """Everything below `top`, or right in it; the server tells whole seconds, so a stamp is no finer.

        Whatever is left out is told to `on_unreadable`.
        """
        async with aclosing(self._walk(top, on_unreadable, raw=False, recursive=recursive)) as entries:
            async for entry in entries:
                if entry.size is None and not entry.is_directory:
                    on_unreadable(posixpath.join(top, entry.path), "the server does not tell its size")
                    continue
                yield [_item_of(entry, top)]

    async def temporary_files(self, on_unreadable: OnUnreadable) -> AsyncIterator[list[Item]]:
        """Temporary files of transfers; links are not followed."""

        def unreadable(directory: str, error: SftpError) -> None:
            on_unreadable(directory, f"cannot be listed: {error.seen}")

        async for entry in walk(self.remote, self.root, raw=True, on_unreadable=unreadable):
            if not entry.is_directory and temporary_names.is_temporary(
                encode(posixpath.basename(entry.path))
            ):
                yield [_item_of(entry)]

    async def entries(
        self, top: str, on_unreadable: OnUnreadable, *, recursive: bool = True
    ) -> AsyncIterator[list[Item]]:
        """Everything below `top`, or right in it, as it is: links as themselves, and temporary files too."""
        async with aclosing(self._walk(top, on_unreadable, raw=True, recursive=recursive)) as entries:
            async for entry in entries:
                yield [_item_of(entry, top)]

    def _walk(
        self, top: str, on_unreadable: OnUnreadable, *, raw: bool, recursive: bool
    ) -> AsyncGenerator[Entry]:
        """Walk below `top`; what cannot be listed, or is left out, is told by its path from the root."""

        def unreadable(directory: str, error: SftpError) -> None:
            on_unreadable(posixpath.join(top, directory), f"cannot be listed: {error.seen}")

        def left_out(path: str, reason: str) -> None:
            on_unreadable(posixpath.join(top, path), reason)

        return walk(
            self.remote,
            self.path(top),
            raw=raw,
            recursive=recursive,
            on_unreadable=unreadable,
            on_left_out=left_out,
        )

    async def look(self, relative: str) -> Item | None:
        """What a name stands for now, a link for itself; None for nothing."""
        path = self.path(relative)
        try:
            found = await self.remote.attempt(f"look at {path}", lambda session: session.lstat(encode(path)))
        except NotFoundError:
            return None
        except ABOUT_ONE_FILE as error:
            raise FileProblemError(error.seen) from error
        return _item(relative, found.is_directory, found.size or 0, found.mtime)

    async def make_directory(self, relative: str) -> None:
        await make_directory(self.remote, self.path(relative))

    async def exists(self) -> bool:
        attributes = await self.remote.stat(self.root)
        return attributes is not None and attributes.is_directory

    async def file(self) -> Item | None:
        """The store itself where it is a file and no directory."""
        attributes = await self.remote.stat(self.root)
        if attributes is None or not attributes.is_file:
            return None
        return _item("", False, attributes.size or 0, attributes.mtime)

    async def digest(self, relative: str, size: int) -> tuple[int, str]:
        """Size and SHA-256 of a file as they are now; `size` is what a listing said."""
        path = self.path(relative)
        try:
            if size <= SMALL_FILE:
                async with self._read_back.holding(size):
                    data = await get_bytes(self.remote, path, size)
                return len(data), hashlib.sha256(data).hexdigest()
            attributes = await self.remote.stat(path)
            if attributes is None:
                raise FileProblemError("it is gone")
            return attributes.size or 0, await checksum.sha256(self.remote, path, size=attributes.size)
        except ABOUT_ONE_FILE as error:
            raise FileProblemError(error.seen) from error

    async def digest_of_beginning(self, relative: str, size: int) -> str | None:
        """SHA-256 of the first `size` bytes of a file; None where it has fewer."""
        try:
            return await checksum.sha256_of_beginning(self.remote, self.path(relative), size)
        except ABOUT_ONE_FILE as error:
            raise FileProblemError(error.seen) from error

    async def read(self, relative: str, size: int) -> bytes:
        """The contents of a small file."""
        try:
            return await get_bytes(self.remote, self.path(relative), size)
        except ABOUT_ONE_FILE as error:
            raise FileProblemError(error.seen) from error

    async def move(self, relative: str, target: str) -> None:
        """Rename a file or directory within the store; its new directory is made."""
        old, new = self.path(relative), self.path(target)
        await make_directory(self.remote, posixpath.dirname(new))
        await self.remote.attempt(f"move {old}", lambda session: session.rename(encode(old), encode(new)))

    async def kind(self, relative: str) -> EntryKind | None:
        """What has this name, a link for itself; None for nothing."""
        path = self.path(relative)

        async def look(session: SftpSession) -> EntryKind | None:
            # ProFTPD answers LSTAT for the target of a link.
            attributes, link = session.lstat(encode(path)), session.readlink(encode(path))
            try:
                mode = (await attributes).mode or 0
            except StatusError as error:
                with suppress(StatusError):
                    await link
                if await is_missing(session, encode(path), error):
                    return None
                raise
            try:
                await link
            except StatusError:
                return ENTRY_KINDS.get(stat.S_IFMT(mode), "other")
            return "link"

        try:
            return await self.remote.attempt(f"look at {path}", look)
        except ABOUT_ONE_FILE as error:
            raise FileProblemError(error.seen) from error

    async def remove_file(self, relative: str) -> None:
        """Delete a file; nothing there is no error."""
        path = self.path(relative)
        try:
            await self._settle(path)
            await self.remote.attempt(f"delete {path}", lambda session: session.remove(encode(path)))
        except NotFoundError:
            return
        except ABOUT_ONE_FILE as error:
            raise FileProblemError(f"cannot be deleted: {error.seen}") from error

    async def _settle(self, path: str) -> None:
        """See that what stepped aside for a newer file does not come back once that is deleted."""
        directory = posixpath.dirname(path)
        if directory not in self._settled:
            await self.remote.attempt(
                f"list {directory}", lambda session: aside.bring_back(session, encode(path))
            )
            self._settled.add(directory)

    async def remove_directory(self, relative: str) -> bool:
        """Remove a directory if it is empty and that is allowed; tells whether it is gone now."""
        path = self.path(relative)
        forget_directory(self.remote, path)
        try:
            await self.remote.attempt(f"delete {path}", lambda session: session.rmdir(encode(path)))
        except ABOUT_ONE_FILE:
            return False
        return True

    async def space(self) -> Space | None:
        """The space where the store is or would be; None where the server does not tell."""
        path = self.root
        while path != "/" and await self.remote.stat(path) is None:
            path = posixpath.dirname(path)
        return await self.remote.space(path)

    async def settled_at(self) -> float:
        """A time just past by the server's clock: what changed before has another stamp if it changes again.

        Before everything where it cannot be found out, for want of the right to make a directory there.
        """
        directory = self.root if await self.exists() else posixpath.dirname(self.root)
        remote, path = (
            Remote(self._connections, directory),
            posixpath.join(directory, temporary_names.temporary()),
        )
        try:
            await make_directory(remote, path)
            made = await remote.stat(path)
            await remote.attempt(f"delete {path}", lambda session: session.rmdir(encode(path)))
        except ABOUT_ONE_FILE:
            return float("-inf")
        finally:
            forget_directory(remote, path)
        return made.mtime - _SETTLING_SECONDS if made is not None and made.mtime else float("-inf")

    async def close(self) -> None:
        await self._connections.close()


def _item_of(entry: Entry, top: str = "") -> Item:
    return _item(posixpath.join(top, entry.path), entry.is_directory, entry.size or 0, entry.mtime)


def _item(path: str, is_directory: bool, size: int, mtime: int | None) -> Item:
    # 0 is what servers say that do not know.
    return Item(path, is_directory, size, f"mtime {mtime}", mtime or None)
