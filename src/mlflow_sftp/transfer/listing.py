# SPDX-License-Identifier: Apache-2.0
"""Listing on the server: one directory, or all below it, many directories at once."""

import asyncio
import logging
import posixpath
import stat
from array import array
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import NamedTuple

from mlflow_sftp.errors import (
    InvalidPathError,
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    SftpError,
)
from mlflow_sftp.transfer import aside, temporary_names
from mlflow_sftp.transfer.lookup import complete_attributes
from mlflow_sftp.transfer.remote import Remote, is_within
from mlflow_sftp.uri import decode, encode
from mlflow_sftp.wire.packets import (
    LONGEST_PATH,
    Attributes,
    Name,
    SessionLostError,
    StatusError,
    is_usable_name,
)
from mlflow_sftp.wire.server_traits import ServerTraits
from mlflow_sftp.wire.session import SftpSession

_log = logging.getLogger(__name__)

# Directory reads sent at once: few at first, for most directories need no more, then twice as many each time, as long
# as what they bring stays within bounds.
_FIRST_READS, _MOST_READS, _MOST_NAMES = 4, 64, 8192
_DIRECTORIES_AT_ONCE = 32
# Entries that a listing collects at most before it hands them over and keeps its directory open meanwhile.
_MOST_WAITING = 20_000
_WAITING_BATCHES = 8
# Bounds on a directory that has no end. How many of its names are remembered to see that they come again, how often
# that is put up with (a directory that changes while it is read repeats some), and how many entries are believed.
_REMEMBERED_NAMES, _MOST_REPEATED, _MOST_ENTRIES = 200_000, 10_000, 20_000_000
# Bytes of the memory budget for each entry of a list that is handed over as a whole.
_BYTES_AN_ENTRY = 64
# How much of a name that cannot be one an error shows.
_SHOWN_NAME = 100

# Told of what a listing leaves out: relative path, reason.
OnLeftOut = Callable[[str, str], None]


class Entry(NamedTuple):
    """A file or directory: `path` is relative to where the listing began. Of a link, it shows the target.

    `size` (bytes) and `mtime` (seconds since 1970) are None where the server does not tell, even if asked.
    """

    path: str
    is_directory: bool
    size: int | None
    mtime: int | None


class _Found(NamedTuple):
    """An entry by its name; for a link, where it leads and where its own directory really is."""

    name: str
    attributes: Attributes
    target: bytes = b""
    within: bytes = b""


async def list_directory(remote: Remote, path: str) -> list[Entry] | None:
    """Entries of a directory, sorted; an empty list for a file; None where there is nothing.

    ServerFailureError for a directory with more entries than memory is set aside for (see docs/data-plane.md).
    """
    entries: list[Entry] = []
    most = remote.connections.memory_budget.capacity // _BYTES_AN_ENTRY
    try:
        async with aclosing(_read_directory(remote, path, _warn(remote, path))) as batches:
            async for batch in batches:
                entries.extend(_entry(found, "") for found in batch)
                if len(entries) > most:
                    raise _too_long(remote, path, most, "Raise MLFLOW_SFTP_MEMORY, or walk it.")
    except (NotFoundError, PermissionRefusedError, ServerFailureError):
        attributes = await remote.stat(path)
        if attributes is not None and (attributes.is_directory or attributes.mode is None):
            raise
        return None if attributes is None else []
    return sorted(entries, key=_path)


async def walk(
    remote: Remote,
    path: str,
    *,
    raw: bool = False,
    recursive: bool = True,
    on_unreadable: Callable[[str, SftpError], None] | None = None,
    on_left_out: OnLeftOut | None = None,
) -> AsyncGenerator[Entry]:
    """Everything below a directory, or only right in it, a directory before its contents, otherwise unsorted.

    Directories are read many at once, as fast as the entries are consumed. A link to a directory above it
    is left out. With `raw`, links are shown as themselves and temporary files too. NotFoundError where there is
    no directory. A directory below it that is gone or may not be read ends the walk, unless there is
    `on_unreadable` to be told of it. Links that lead nowhere or out of the root, pipes, sockets and devices are left
    out, with a warning in the log; `on_left_out` is told of them instead. What has a name that nothing can have (empty,
    with "/" or a zero byte, too long) ends the walk, unless there is `on_left_out` to be told of it.
    """
    batches: asyncio.Queue[tuple[str, tuple[bytes, ...], list[_Found]] | SftpError | None]
    batches = asyncio.Queue(_WAITING_BATCHES)

    def left_out_of(prefix: str) -> OnLeftOut | None:
        if on_left_out is None:
            return None
        return lambda name, reason: on_left_out(posixpath.join(prefix, name), reason)

    async def read(prefix: str, chain: tuple[bytes, ...]) -> None:
        try:
            directory = posixpath.join(path, prefix)
            reading = _read_directory(remote, directory, left_out_of(prefix), raw=raw)
            async with aclosing(reading):
                async for batch in reading:
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
                    if on_left_out is not None:
                        on_left_out(posixpath.join(prefix, found.name), "leads back to a directory above it")
                    continue
                entry = _entry(found, prefix)
                if entry.is_directory and recursive:
                    _require_depth(remote, path, entry.path)
                    unread.append((entry.path, (*chain, found.within) if found.target else chain))
                yield entry
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


class _Progress:
    """What of a directory was read: names that come again are not taken again, and it must end."""

    def __init__(self, remote: Remote, path: str) -> None:
        self._remote = remote
        self._path = path
        self._remembered: dict[int, int | None] = {}
        self._taken = array("q")
        self._skip: frozenset[int] = frozenset()
        self._repeated = 0

    def begin_again(self) -> None:
        """After a drop everything comes once more: what was taken must be skipped."""
        self._skip = frozenset(self._taken)

    def fresh(self, names: list[Name]) -> list[Name]:
        """Return those that were not taken yet."""
        new = []
        remembered, skip = self._remembered, self._skip
        for name in names:
            key = hash(name.name)
            if key in skip:
                continue
            mode = name.attributes.mode
            if key in remembered:
                self._repeat(name, remembered[key])
                continue
            if len(remembered) < _REMEMBERED_NAMES:
                remembered[key] = mode
            self._taken.append(key)
            new.append(name)
        if len(self._taken) > _MOST_ENTRIES:
            raise _too_long(self._remote, self._path, _MOST_ENTRIES, "Split it, if it really is that long.")
        return new

    def _repeat(self, name: Name, mode: int | None) -> None:
        self._repeated += 1
        operation = f"list {self._path}"
        if self._repeated > _MOST_REPEATED:
            raise ServerFailureError(
                operation,
                self._remote.name,
                f"the server lists the same names again and again, {self._repeated} times so far",
                "It does not tell where a directory ends, which its administrator must mend.",
            )
        again = name.attributes.mode
        if (
            is_usable_name(name.name)
            and None not in (mode, again)
            and stat.S_IFMT(mode or 0) != stat.S_IFMT(again or 0)
        ):
            raise ServerFailureError(
                operation,
                self._remote.name,
                f"the server lists {decode(name.name)!r} twice, as different things",
                "Try again; if this repeats, its administrator must mend that.",
            )


async def _read_directory(
    remote: Remote, path: str, on_left_out: OnLeftOut | None, *, raw: bool = False
) -> AsyncGenerator[list[_Found]]:
    """Yield the entries in batches, as the server sends them; after a drop, only those not yet yielded."""
    operation = f"list {path}"
    progress = _Progress(remote, path)
    files, traits = remote.connections.open_files, remote.connections.traits
    place = files.place(for_directory=True)
    session: SftpSession | None = None
    opened: tuple[SftpSession, bytes] | None = None
    ended = False
    reads = _FIRST_READS
    waiting: list[_Found] = []

    async def step(now: SftpSession) -> tuple[SftpSession, list[Name], bool]:
        nonlocal opened
        if opened is None or now is not opened[0]:
            await place.take()
            opened = now, await place.open(lambda: _open_directory(remote, now, path))
        one_by_one = False in (traits.keeps_order, traits.reads_past_end)
        return now, *await _next_names(now, traits, opened[1], 1 if one_by_one else reads)

    async def complete(now: SftpSession) -> list[_Found]:
        return await _complete(remote, now, path, fresh, on_left_out, raw=raw)

    try:
        while True:
            now, names, ended = await remote.attempt(operation, step, before_handshake=True)
            if session is not None and now is not session:
                progress.begin_again()
            session = now
            if ended:
                place.give_back()
            fresh = progress.fresh(names)
            if fresh:
                waiting += await remote.attempt(operation, complete, before_handshake=True)
            # Where few may be open, whoever waits for these entries may need this place.
            if waiting and (ended or not files.scarce or len(waiting) >= _MOST_WAITING):
                place.keep(not ended)
                yield waiting
                place.keep(False)
                waiting = []
            if ended:
                return
            reads = max(1, min(reads * 2, _MOST_READS, _MOST_NAMES * reads // max(1, len(names))))
    finally:
        if opened is not None and not ended:
            opened[0].close_handle(opened[1])
        place.give_back()


async def _open_directory(remote: Remote, session: SftpSession, path: str) -> bytes:
    check = remote.containment_check(session, path)
    handle = session.opendir(encode(path))
    try:
        await check()
    except InvalidPathError:
        session.close_handle(await handle)
        raise
    return await handle


async def _next_names(
    session: SftpSession, traits: ServerTraits, handle: bytes, reads: int
) -> tuple[list[Name], bool]:
    """Return names and whether these were the last: the server says so, or sends none in all of several answers."""
    ended = False
    names: list[Name] = []
    for answer in [session.readdir(handle) for _ in range(reads)]:
        try:
            batch = await answer
        except StatusError:
            if not ended:
                raise
            continue  # Some servers take it for an error to be asked once more after the end.
        except SessionLostError:
            if not ended:
                raise
            traits.reads_past_end = False  # Others end the session.
            break
        if batch is None:
            ended = True
        else:
            names.extend(batch)
    if ended or not names:
        session.close_handle(handle)
    return names, ended or not names


async def _complete(
    remote: Remote,
    session: SftpSession,
    path: str,
    names: list[Name],
    on_left_out: OnLeftOut | None,
    *,
    raw: bool,
) -> list[_Found]:
    """Return what the names stand for, with what the listing does not tell; links followed unless `raw`."""
    left_out = on_left_out or _warn(remote, path)
    usable = [name for name in names if is_usable_name(name.name)]
    if len(usable) < len(names):
        _leave_out_unusable(remote, path, names, on_left_out)
    if not raw and any(temporary_names.is_hidden(name.name) for name in usable):
        usable += await _bring_back(remote, session, path, usable, left_out)
        usable = [name for name in usable if not temporary_names.is_hidden(name.name)]
    asked = [each for each in usable if _is_incomplete(each.attributes, raw)]
    incomplete = {name.name for name in asked}
    found = [_Found(decode(name.name), name.attributes) for name in usable if name.name not in incomplete]
    if raw:
        return found + (await _look_at_each(session, path, asked) if asked else [])
    if asked:
        found += await _resolve(remote, session, path, asked, left_out)
    return [each for each in found if not _is_special(each, left_out)]


def _is_special(found: _Found, left_out: OnLeftOut) -> bool:
    """Tell, and say so, whether it is a pipe, a socket or a device, which hang whoever reads them."""
    kind = stat.S_IFMT(found.attributes.mode or 0)
    if kind in (0, stat.S_IFREG, stat.S_IFDIR):
        return False
    left_out(found.name, "is neither a file nor a directory")
    return True


def _is_incomplete(attributes: Attributes, raw: bool) -> bool:
    if raw:
        return attributes.mode is None
    return attributes.is_link or not attributes.is_complete


def _leave_out_unusable(remote: Remote, path: str, names: list[Name], on_left_out: OnLeftOut | None) -> None:
    for name in names:
        if name.name in (b".", b"..") or is_usable_name(name.name):
            continue
        shown = decode(name.name[:_SHOWN_NAME])
        if on_left_out is None:
            raise ServerFailureError(
                f"list {path}",
                remote.name,
                f"it lists {shown!r} ({len(name.name)} bytes), which no file can be called",
                "Rename that on the server's own side.",
            )
        on_left_out(shown, "has a name that no file can have")


async def _look_at_each(session: SftpSession, path: str, names: list[Name]) -> list[_Found]:
    """Ask for what the listing did not tell of entries, links for themselves."""
    full = [encode(posixpath.join(path, decode(each.name))) for each in names]
    found = []
    for name, each, answer in zip(names, full, [session.lstat(each) for each in full], strict=True):
        attributes = name.attributes
        with suppress(StatusError):
            attributes = await answer
        found.append(_Found(decode(name.name), await complete_attributes(session, each, attributes)))
    return found


async def _resolve(
    remote: Remote, session: SftpSession, path: str, names: list[Name], left_out: OnLeftOut
) -> list[_Found]:
    """Follow links and ask for what the listing did not tell; what dangles, loops or leads out is left out."""
    root = session.realpath(encode(remote.root))
    within = session.realpath(encode(path))
    full = [encode(posixpath.join(path, decode(each.name))) for each in names]
    answers = [(session.stat(each), session.realpath(each)) for each in full]
    real_root, real_path = await root, await within
    found = []
    for name, each, (answer, target) in zip(names, full, answers, strict=True):
        shown = decode(name.name)
        try:
            attributes = await complete_attributes(session, each, await answer)
            resolved = _Found(shown, attributes, await target, real_path)
        except StatusError:
            if name.attributes.is_link or name.attributes.mode is None:
                left_out(shown, "leads nowhere")
            else:
                found.append(_Found(shown, name.attributes))  # No link: it is there, as the listing says.
            continue
        if is_within(resolved.target, real_root):
            found.append(resolved)
        else:
            left_out(shown, f"leads out of {remote.root}")
    return found


async def _bring_back(
    remote: Remote, session: SftpSession, path: str, listed: list[Name], left_out: OnLeftOut
) -> list[Name]:
    """Return what is there once more: old files that a dead upload had made step aside."""
    old = [name.name for name in listed if temporary_names.parse_aside(name.name)]
    if not old:
        return []
    settled = await aside.settle(session, encode(path), old)
    for name, reason in settled.stuck:
        left_out(decode(name), f"stepped aside for an upload that died and cannot be brought back ({reason})")
    known = {name.name for name in listed}
    new = [name for name in settled.brought_back if name not in known]
    found = [(name, session.lstat(posixpath.join(encode(path), name))) for name in new]
    names = []
    for name, answer in found:
        with suppress(StatusError):
            names.append(Name(name, await answer))
    return names


def _warn(remote: Remote, path: str) -> OnLeftOut:
    def tell(name: str, reason: str) -> None:
        _log.warning("%s: %r %s and is left out", remote.name, posixpath.join(path, name), reason)

    return tell


def _too_long(remote: Remote, path: str, most: int, remedy: str) -> ServerFailureError:
    return ServerFailureError(
        f"list {path}", remote.name, f"it has more than {most} entries, or no end", remedy
    )


def _require_depth(remote: Remote, path: str, relative: str) -> None:
    if len(encode(posixpath.join(path, relative))) > LONGEST_PATH:
        raise ServerFailureError(
            f"list {path}",
            remote.name,
            f"its directories lie in each other deeper than a path of {LONGEST_PATH} bytes can say",
            "Move them up on the server's own side.",
        )


def _entry(found: _Found, prefix: str) -> Entry:
    size, _, mtime = found.attributes
    return Entry(posixpath.join(prefix, found.name), found.attributes.is_directory, size, mtime)


def _path(entry: Entry) -> str:
    return entry.path


def _leads_back(link: _Found, chain: tuple[bytes, ...]) -> bool:
    """Tell whether following a directory link would come to a directory that the walk is in already."""
    if not link.target or not link.attributes.is_directory:
        return False
    return any(is_within(visited, link.target) for visited in (*chain, link.within))
