# SPDX-License-Identifier: Apache-2.0
"""Listing on the server: one directory, or all below it, many directories at once."""

import asyncio
import logging
import posixpath
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import NamedTuple

from mlflow_sftp.errors import (
    InvalidPathError,
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    SftpError,
)
from mlflow_sftp.transfer import aside, temporary_names
from mlflow_sftp.transfer.remote import Remote, is_within
from mlflow_sftp.uri import decode, encode
from mlflow_sftp.wire.packets import Attributes, Name, StatusError
from mlflow_sftp.wire.session import SftpSession

_log = logging.getLogger(__name__)

# Directory reads sent at once: few at first, for most directories need no more, then twice as many each time.
_FIRST_READS, _MOST_READS = 4, 64
_DIRECTORIES_AT_ONCE = 32


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


async def list_directory(remote: Remote, path: str) -> list[Entry] | None:
    """Entries of a directory, sorted; an empty list for a file; None where there is nothing."""
    entries: list[Entry] = []
    try:
        async for batch in _read_directory(remote, path):
            entries.extend(_entry(found, "") for found in batch)
    except (NotFoundError, PermissionRefusedError, ServerFailureError):
        attributes = await remote.stat(path)
        if attributes is not None and attributes.is_directory:
            raise
        return None if attributes is None else []
    return sorted(entries)


async def walk(
    remote: Remote,
    path: str,
    *,
    raw: bool = False,
    on_unreadable: Callable[[str, SftpError], None] | None = None,
) -> AsyncIterator[Entry]:
    """Everything below a directory, a directory before its contents, otherwise unsorted.

    Directories are read many at once, as fast as the entries are consumed. A link to a directory above it
    is left out. With `raw`, links are shown as themselves and temporary files too. NotFoundError where there is
    no directory. A directory below it that is gone or may not be read ends the walk, unless there is
    `on_unreadable` to be told of it.
    """
    batches: asyncio.Queue[tuple[str, tuple[bytes, ...], list[_Found]] | SftpError | None]
    batches = asyncio.Queue(_DIRECTORIES_AT_ONCE)

    async def read(prefix: str, chain: tuple[bytes, ...]) -> None:
        try:
            async for batch in _read_directory(remote, posixpath.join(path, prefix), raw=raw):
                await batches.put((prefix, chain, batch))
            await batches.put(None)
        except (NotFoundError, PermissionRefusedError) as error:
            if not prefix or on_unreadable is None:
                await batches.put(error)
            else:
                on_unreadable(prefix, error)
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


async def _read_directory(remote: Remote, path: str, *, raw: bool = False) -> AsyncIterator[list[_Found]]:
    """Yield the entries in batches, as the server sends them; after a drop, only those not yet yielded."""
    operation = f"list {path}"
    seen: list[str] = []
    skip: set[str] = set()
    session: SftpSession | None = None
    handle = b""
    reads = _FIRST_READS

    async def step(now: SftpSession) -> tuple[SftpSession, bytes, list[_Found], bool]:
        at = handle if now is session else await _open_directory(remote, now, path)
        found, ended = await _next_entries(remote, now, path, at, reads, raw=raw)
        return now, at, found, ended

    while True:
        now, handle, found, ended = await remote.attempt(operation, step, before_handshake=True)
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


async def _open_directory(remote: Remote, session: SftpSession, path: str) -> bytes:
    check = remote.containment_check(session, path)
    handle = session.opendir(encode(path))
    try:
        await check()
    except InvalidPathError:
        session.close_handle(await handle)
        raise
    return await handle


async def _next_entries(
    remote: Remote, session: SftpSession, path: str, handle: bytes, reads: int, *, raw: bool
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
    usable += await _bring_back(remote, session, path, usable)
    shown = [name for name in usable if not temporary_names.is_hidden(name.name)]
    links = [name.name for name in shown if name.attributes.is_link or name.attributes.mode is None]
    leading = set(links)
    plain = [_Found(decode(name.name), name.attributes) for name in shown if name.name not in leading]
    return (plain + await _resolve(remote, session, path, links)) if links else plain, ended


async def _resolve(remote: Remote, session: SftpSession, path: str, links: list[bytes]) -> list[_Found]:
    """Follow links; those that dangle, loop or lead out of the root are left out."""
    root = session.realpath(encode(remote.root))
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
                "%s: %r leads nowhere and is left out", remote.name, posixpath.join(path, decode(name))
            )
            continue
        if is_within(resolved.target, real_root):
            found.append(resolved)
        else:
            _log.warning("%s: %r leads out of %s and is left out", remote.name, decode(name), remote.root)
    return found


async def _bring_back(remote: Remote, session: SftpSession, path: str, listed: list[Name]) -> list[Name]:
    """Return what is there once more: old files that a dead upload had made step aside."""
    old = [name.name for name in listed if temporary_names.parse_aside(name.name)]
    if not old:
        return []
    settled = await aside.settle(session, encode(path), old)
    for name, reason in settled.stuck:
        _log.warning(
            "%s: %r stepped aside for an upload that died, and cannot be brought back: %s",
            remote.name,
            posixpath.join(path, decode(name)),
            reason,
        )
    known = {name.name for name in listed}
    new = [name for name in settled.brought_back if name not in known]
    found = [(name, session.lstat(posixpath.join(encode(path), name))) for name in new]
    names = []
    for name, answer in found:
        with suppress(StatusError):
            names.append(Name(name, await answer))
    return names


def _entry(found: _Found, prefix: str) -> Entry:
    attributes = found.attributes
    return Entry(
        posixpath.join(prefix, found.name),
        attributes.is_directory,
        attributes.size or 0,
        attributes.mtime or 0,
    )


def _leads_back(link: _Found, chain: tuple[bytes, ...]) -> bool:
    """Tell whether following a directory link would come to a directory that the walk is in already."""
    if not link.target or not link.attributes.is_directory:
        return False
    return any(is_within(visited, link.target) for visited in (*chain, link.within))
