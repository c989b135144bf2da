# SPDX-License-Identifier: Apache-2.0
"""Directories below one root on the server: looking, listing, making, removing; errors that explain themselves."""

import asyncio
import logging
import posixpath
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, TypeVar

from mlflow_sftp.errors import (
    InvalidPathError,
    NoSpaceError,
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    SftpError,
)
from mlflow_sftp.transfer import temporary_names
from mlflow_sftp.uri import decode, encode
from mlflow_sftp.wire.connections import Connections
from mlflow_sftp.wire.flow_control import for_each, iterate
from mlflow_sftp.wire.packets import (
    FX_FAILURE,
    FX_NO_SUCH_FILE,
    FX_PERMISSION_DENIED,
    Attributes,
    Name,
    StatusError,
)
from mlflow_sftp.wire.session import SftpSession

_log = logging.getLogger(__name__)
T = TypeVar("T")

# Directory reads sent at once: few at first, for most directories need no more, then twice as many each time.
_FIRST_READS, _MOST_READS = 4, 64
_DIRECTORIES_AT_ONCE = 32
_CHANGES_AT_ONCE = 256
_REMOVAL_PASSES = 3
_REMEMBERED_DIRECTORIES = 10_000
# statvfs@openssh.com: block size, fragment size, then blocks: all, free, free to this user, ...
_STATVFS = struct.Struct(">11Q")


class Entry(NamedTuple):
    """A file or directory: `path` is relative to where the listing began. Of a link, it shows the target."""

    path: str
    is_directory: bool
    size: int
    mtime: int


class _Found(NamedTuple):
    """An entry by its name; for a link, where it leads and where its own directory really is."""

    name: str
    attributes: Attributes
    target: bytes = b""
    within: bytes = b""


class Remote:
    """Operations below `root`, an absolute path on the server.

    Paths given are absolute. Methods run on the background loop, are safe to repeat after a drop of the
    connection, and raise SftpError.
    """

    def __init__(self, connections: Connections, root: str) -> None:
        self.connections = connections
        self.root = root
        self.name = connections.name
        self._real_root = b""
        self._making: dict[str, asyncio.Task[None]] = {}

    async def attempt(
        self,
        operation: str,
        action: Callable[[SftpSession], Awaitable[T]],
        *,
        progress: Callable[[], int] = lambda: 0,
        needs: int = 1,
        early: bool = False,
    ) -> T:
        """Like Connections.attempt, with error statuses explained; `needs` is the bytes of disk it takes."""
        try:
            return await self.connections.attempt(operation, action, progress=progress, early=early)
        except StatusError as error:
            raise await self._explain(operation, error, needs) from error

    # --- looking ---

    async def stat(self, path: str) -> Attributes | None:
        """Attributes of what `path` leads to; None where there is nothing, and for a dangling link."""

        async def look(session: SftpSession) -> Attributes | None:
            check = self.locating(session, path)
            answer = session.stat(encode(path))
            await check()
            try:
                return await answer
            except StatusError as error:
                if error.code == FX_NO_SUCH_FILE:
                    return None
                raise

        return await self.attempt(f"look at {path}", look, early=True)

    async def list_directory(self, path: str) -> list[Entry] | None:
        """Entries of a directory, sorted; an empty list for a file; None where there is nothing."""
        entries: list[Entry] = []
        try:
            async for batch in self._read_directory(path):
                entries.extend(_entry(found, "") for found in batch)
        except (NotFoundError, ServerFailureError):
            attributes = await self.stat(path)
            if attributes is not None and attributes.is_directory:
                raise
            return None if attributes is None else []
        return sorted(entries)

    async def walk(
        self,
        path: str,
        *,
        raw: bool = False,
        unreadable: Callable[[str, SftpError], None] | None = None,
    ) -> AsyncIterator[Entry]:
        """Everything below a directory, a directory before its contents, otherwise unsorted.

        Directories are read many at once, as fast as the entries are consumed. A link to a directory above it
        is left out. With `raw`, links are shown as themselves and temporary files too. NotFoundError where there is
        no directory. A directory below it that is gone or may not be read ends the walk, unless there is
        `unreadable` to be told of it.
        """
        batches: asyncio.Queue[tuple[str, tuple[bytes, ...], list[_Found]] | SftpError | None]
        batches = asyncio.Queue(_DIRECTORIES_AT_ONCE)

        async def read(prefix: str, chain: tuple[bytes, ...]) -> None:
            try:
                async for batch in self._read_directory(posixpath.join(path, prefix), raw=raw):
                    await batches.put((prefix, chain, batch))
                await batches.put(None)
            except (NotFoundError, PermissionRefusedError) as error:
                if not prefix or unreadable is None:
                    await batches.put(error)
                else:
                    unreadable(prefix, error)
                    await batches.put(None)
            except SftpError as error:
                await batches.put(error)

        unread: list[tuple[str, tuple[bytes, ...]]] = [("", ())]
        readers: set[asyncio.Task[None]] = set()
        active = 0
        try:
            while unread or active:
                while unread and active < _DIRECTORIES_AT_ONCE:
                    active += 1
                    reader = asyncio.create_task(read(*unread.pop()))
                    readers.add(reader)
                    reader.add_done_callback(readers.discard)
                batch = await batches.get()
                if isinstance(batch, SftpError):
                    raise batch
                if batch is None:
                    active -= 1
                    continue
                prefix, chain, founds = batch
                for found in founds:
                    if _leads_back(found, chain):
                        continue
                    entry = _entry(found, prefix)
                    if entry.is_directory:
                        unread.append((entry.path, (*chain, found.within) if found.target else chain))
                    yield entry
        finally:
            for reader in readers:
                reader.cancel()

    def locating(self, session: SftpSession, path: str) -> Callable[[], Awaitable[None]]:
        """Ask where `path` really is; await the returned function to get InvalidPathError if that is outside the root.

        The questions are sent at once, so that requests made before awaiting travel with them.
        """
        if _is_within(encode(self.root), encode(path)):
            return _no_check  # The root, or a directory above it that is being made.
        root = None if self._real_root else session.realpath(encode(self.root))
        answer = session.realpath(encode(path))

        async def check() -> None:
            try:
                if root is not None:
                    self._real_root = await root
                real = await answer
            except StatusError:
                return  # It does not exist; what is done with it next will say so.
            if not _is_within(real, self._real_root):
                raise InvalidPathError(
                    f"use {path}",
                    self.name,
                    f"a link leads out of {self.root}, to {decode(real)}",
                    "Remove that link.",
                )

        return check

    # --- changing ---

    async def make_directory(self, path: str) -> None:
        """Make a directory and those above it; those known to exist are not asked for again."""
        making = self.begin_directory(path)
        if making is not None:
            await asyncio.shield(making)

    def begin_directory(self, path: str) -> "asyncio.Task[None] | None":
        """Begin to make a directory and those above it; None where they are known to exist."""
        if encode(path) in self.connections.known_directories:
            return None
        if path not in self._making:
            task = asyncio.create_task(self._make_directory(path))
            self._making[path] = task
            task.add_done_callback(lambda done: self._made(path, done))
        return self._making[path]

    def _made(self, path: str, task: "asyncio.Task[None]") -> None:
        del self._making[path]
        if not task.cancelled():
            task.exception()  # Marks it as seen: not everybody who began it waits for it.

    def forget_directory(self, path: str) -> None:
        """Ask for this directory and those above it again next time: it was found missing."""
        self.connections.known_directories.difference_update(_levels(path))

    async def remove(self, path: str) -> bool:
        """Remove a file, a link (never its target) or a whole directory; False where there was nothing."""
        operation = f"delete {path}"

        async def look(session: SftpSession) -> bool:
            check = self.locating(session, posixpath.dirname(path) if path != self.root else path)
            # ProFTPD answers LSTAT for the target of a link, so that alone would delete what a link points to.
            attributes, link = session.lstat(encode(path)), session.readlink(encode(path))
            await check()
            if not (await attributes).is_directory:
                return False
            try:
                await link
            except StatusError:
                return True
            return False

        try:
            is_directory = await self.attempt(operation, look)
        except NotFoundError:
            return False
        self.connections.known_directories.clear()
        if is_directory:
            await self._remove_directory(path)
        else:
            await self.attempt(operation, lambda session: _unless_missing(session.remove(encode(path))))
        return True

    # --- parts ---

    async def _explain(self, operation: str, error: StatusError, needs: int) -> SftpError:
        if error.code == FX_NO_SUCH_FILE:
            return NotFoundError(operation, self.name, "there is no such file or directory")
        if error.code == FX_PERMISSION_DENIED:
            return PermissionRefusedError(operation, self.name, "permission denied")
        if error.code == FX_FAILURE and (
            "space" in error.message.lower() or "quota" in error.message.lower()
        ):
            return NoSpaceError(operation, self.name, error.message)
        if error.code == FX_FAILURE and (free := await self._free_bytes()) is not None and free < needs:
            return NoSpaceError(operation, self.name, f"{free} bytes are free and {needs} are needed")
        return ServerFailureError(operation, self.name, str(error))

    async def _free_bytes(self) -> int | None:
        async def ask(session: SftpSession) -> int | None:
            if b"statvfs@openssh.com" not in session.extensions:
                return None
            path = encode(self.root)
            answer = await session.extended(b"statvfs@openssh.com", len(path).to_bytes(4) + path)
            _, fragment, _, _, available, *_ = _STATVFS.unpack_from(answer)
            return int(fragment * available)

        try:
            return await self.connections.attempt("ask for free space", ask)
        except (StatusError, SftpError, struct.error):
            return None

    async def _read_directory(self, path: str, *, raw: bool = False) -> AsyncIterator[list[_Found]]:
        """Yield the entries in batches, as the server sends them; after a drop, only those not yet yielded."""
        operation = f"list {path}"
        seen: list[str] = []
        skip: set[str] = set()
        session: SftpSession | None = None
        handle = b""
        reads = _FIRST_READS

        async def step(now: SftpSession) -> tuple[SftpSession, bytes, list[_Found], bool]:
            at = handle if now is session else await self._open_directory(now, path)
            found, ended = await self._next_entries(now, path, at, reads, raw=raw)
            return now, at, found, ended

        while True:
            now, handle, found, ended = await self.attempt(operation, step, early=True)
            if session is not None and now is not session:
                skip = set(seen)
            session = now
            fresh = [each for each in found if each.name not in skip]
            seen.extend(each.name for each in fresh)
            if fresh:
                yield fresh
            if ended:
                return
            reads = min(reads * 2, _MOST_READS)

    async def _open_directory(self, session: SftpSession, path: str) -> bytes:
        check = self.locating(session, path)
        handle = session.opendir(encode(path))
        try:
            await check()
        except InvalidPathError:
            session.close_handle(await handle)
            raise
        return await handle

    async def _next_entries(
        self, session: SftpSession, path: str, handle: bytes, reads: int, *, raw: bool
    ) -> tuple[list[_Found], bool]:
        ended = False
        raw_names: list[Name] = []
        for answer in [session.readdir(handle) for _ in range(reads)]:
            batch = await answer
            ended = ended or not batch
            raw_names.extend(batch)
        if ended:
            session.close_handle(handle)
        usable = [name for name in raw_names if name.name not in (b".", b"..") and b"/" not in name.name]
        if raw:
            return [_Found(decode(name.name), name.attributes) for name in usable], ended
        self._remove_leftovers(session, path, usable)
        shown = [name for name in usable if not temporary_names.is_temporary(name.name)]
        links = [name.name for name in shown if name.attributes.is_link or name.attributes.mode is None]
        leading = set(links)
        plain = [_Found(decode(name.name), name.attributes) for name in shown if name.name not in leading]
        return (plain + await self._resolve(session, path, links)) if links else plain, ended

    async def _resolve(self, session: SftpSession, path: str, links: list[bytes]) -> list[_Found]:
        """Follow links; those that dangle, loop or lead out of the root are left out."""
        root = session.realpath(encode(self.root))
        within = session.realpath(encode(path))
        full = [encode(posixpath.join(path, decode(name))) for name in links]
        answers = [(session.stat(each), session.realpath(each)) for each in full]
        real_root, real_path = await root, await within
        found = []
        for name, (attributes, target) in zip(links, answers, strict=True):
            try:
                resolved = _Found(decode(name), await attributes, await target, real_path)
            except StatusError:
                _log.warning(
                    "%s: %r leads nowhere and is left out", self.name, posixpath.join(path, decode(name))
                )
                continue
            if _is_within(resolved.target, real_root):
                found.append(resolved)
            else:
                _log.warning("%s: %r leads out of %s and is left out", self.name, decode(name), self.root)
        return found

    def _remove_leftovers(self, session: SftpSession, path: str, listed: list[Name]) -> None:
        """Remove temporary files that nothing has written to for long; whether it works does not matter."""
        oldest = time.time() - self.connections.settings.leftover_hours * 3600
        for name in listed:
            mtime = name.attributes.mtime
            if temporary_names.is_temporary(name.name) and mtime is not None and mtime < oldest:
                session.remove(encode(posixpath.join(path, decode(name.name))))

    async def _make_directory(self, path: str) -> None:
        operation = f"make the directory {path}"
        levels = self._unknown_levels(path)

        async def make_at_once(session: SftpSession) -> bool:
            for level in levels:
                session.mkdir(level)
            check = self.locating(session, path)
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

        if not await self.attempt(operation, make_at_once, early=True):
            await self.attempt(operation, make_one_by_one)
        known = self.connections.known_directories
        if len(known) > _REMEMBERED_DIRECTORIES:
            known.clear()
        known.update(levels)

    def _unknown_levels(self, path: str) -> list[bytes]:
        known = self.connections.known_directories
        return [level for level in _levels(path) if level not in known]

    async def _remove_directory(self, path: str) -> None:
        for left in reversed(range(_REMOVAL_PASSES)):
            directories = await self._remove_files(path)
            try:
                await self._remove_empty(directories)
            except ServerFailureError:
                # Something came in meanwhile, or the server skipped entries while others were removed.
                if not left:
                    raise
                continue
            return

    async def _remove_files(self, path: str) -> list[str]:
        """Remove everything below a directory but the directories; return those, itself included."""
        directories = [path]

        async def remove(entry: Entry) -> None:
            full = posixpath.join(path, entry.path)
            if entry.is_directory:
                directories.append(full)
                return
            await self.attempt(
                f"delete {full}", lambda session: _unless_missing(session.remove(encode(full)))
            )

        await for_each(self.walk(path, raw=True), remove, _changes_at_once)
        return directories

    async def _remove_empty(self, directories: list[str]) -> None:
        by_depth: dict[int, list[str]] = {}
        for directory in directories:
            by_depth.setdefault(directory.count("/"), []).append(directory)

        async def remove(directory: str) -> None:
            await self.attempt(
                f"delete {directory}", lambda session: _unless_missing(session.rmdir(encode(directory)))
            )

        for depth in sorted(by_depth, reverse=True):
            await for_each(iterate(by_depth[depth]), remove, _changes_at_once)


def _changes_at_once() -> int:
    return _CHANGES_AT_ONCE


async def _no_check() -> None:
    return


def _levels(path: str) -> list[bytes]:
    """Return a directory and all above it but "/", the highest first."""
    parts = encode(path).split(b"/")[1:]
    return [b"/" + b"/".join(parts[: count + 1]) for count in range(len(parts)) if parts[count]]


async def _unless_missing(answer: Awaitable[None]) -> None:
    try:
        await answer
    except StatusError as error:
        if error.code != FX_NO_SUCH_FILE:
            raise


def _entry(found: _Found, prefix: str) -> Entry:
    attributes = found.attributes
    return Entry(
        posixpath.join(prefix, found.name),
        attributes.is_directory,
        attributes.size or 0,
        attributes.mtime or 0,
    )


def _is_within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _leads_back(link: _Found, chain: tuple[bytes, ...]) -> bool:
    """Tell whether following a directory link would come to a directory that the walk is in already."""
    if not link.target or not link.attributes.is_directory:
        return False
    return any(_is_within(visited, link.target) for visited in (*chain, link.within))
