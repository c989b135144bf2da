# SPDX-License-Identifier: GPL-3.0-or-later
"""SFTP (protocol version 3) over a channel of paramiko, for the few operations that modules need.

paramiko's own client believes what it is told: it reads missing fields as zeros, waits for ever, takes in listings of
any size, does not look at what CLOSE answers, and stops at a name that is not UTF-8. Here every answer is checked
against its question, and what a server does not tell is None.
"""

from __future__ import annotations

import errno
import re
import stat
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.wire import MalformedError, Reader

_INIT, _VERSION, _OPEN, _CLOSE, _READ, _WRITE, _LSTAT, _FSTAT, _SETSTAT = 1, 2, 3, 4, 5, 6, 7, 8, 9
_OPENDIR, _READDIR, _REMOVE, _MKDIR, _RMDIR, _REALPATH, _STAT, _RENAME, _READLINK = range(11, 20)
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS, _EXTENDED, _EXTENDED_REPLY = 101, 102, 103, 104, 105, 200, 201
_OK, _EOF, _NO_SUCH_FILE, _PERMISSION_DENIED, _FAILURE = range(5)
_READ_FLAG, _WRITE_FLAG, _CREATE_FLAG, _EXCLUSIVE_FLAG = 0x1, 0x2, 0x8, 0x20
_SIZE, _OWNERS, _PERMISSIONS, _TIMES, _MORE = 0x1, 0x2, 0x4, 0x8, 0x80000000

# Bytes; sftp takes packets of 256 KiB, and some servers list more at once.
_LONGEST_PACKET = 1 << 20
_LONGEST_NAME = 4096
_LONGEST_TEXT = 500
_MOST_ENTRIES = 1_000_000
_MOST_EMPTY_ANSWERS = 100
_BLOCK = 32768
_MOST_REQUESTS = 32
# What paramiko says as long as no program ended.
NO_EXIT_STATUS = -1
_STATVFS = struct.Struct(">11Q")

# Statuses of later versions of the protocol, which some servers use in this one too.
_ERRNO_OF_CODE = {
    _NO_SUCH_FILE: errno.ENOENT,
    _PERMISSION_DENIED: errno.EACCES,
    8: errno.EOPNOTSUPP,
    10: errno.ENOENT,
    11: errno.EEXIST,
    12: errno.EROFS,
    14: errno.ENOSPC,
    15: errno.EDQUOT,
    18: errno.ENOTEMPTY,
    19: errno.ENOTDIR,
}
# What servers put into words only, under a code that says less.
_ERRNO_OF_WORDS = {
    re.compile(words, re.IGNORECASE): number
    for words, number in {
        r"no such (file|path|dir)|not found|does(n't| not) exist": errno.ENOENT,
        r"not a directory": errno.ENOTDIR,
        r"(file|directory|already) exists": errno.EEXIST,
        r"not empty": errno.ENOTEMPTY,
        r"read-only": errno.EROFS,
        r"no space|disk full": errno.ENOSPC,
        r"quota": errno.EDQUOT,
        r"permission denied|access denied": errno.EACCES,
    }.items()
}


class GarbledError(Exception):
    """What comes first is no SFTP; the text shows it."""


class WrongLengthError(OSError):
    """A file does not hold as many bytes as the server said when it was opened."""


@dataclass(frozen=True)
class Attributes:
    """What a server tells of a file; None is what it does not tell.

    Attributes:
        size: Bytes.
        mode: Type and permission bits.
        modified: Seconds since 1970.
    """

    size: int | None = None
    mode: int | None = None
    modified: int | None = None

    @property
    def kind(self) -> int | None:
        """The type as ``stat.S_IFMT`` has it; None where the server gives permissions without it, or neither."""
        return stat.S_IFMT(self.mode or 0) or None

    @property
    def permissions(self) -> int | None:
        """The permission bits."""
        return None if self.mode is None else stat.S_IMODE(self.mode)


@dataclass(frozen=True)
class Entry:
    """A name in a directory; bytes that are not UTF-8 are surrogates in it."""

    name: str
    attributes: Attributes


@dataclass(frozen=True)
class FileSystem:
    """What statvfs tells: bytes and inodes free for this user, and whether it is mounted read-only."""

    free: int
    free_inodes: int
    read_only: bool


class SftpClient:
    """An SFTP session. Paths are text, in which surrogates stand for bytes that are not UTF-8.

    Raises from every method: OSError for what the server refuses (FileNotFoundError and so on where it says why),
    TimeoutError when it does not answer in time, MalformedError for an answer that is none, EOFError when the session
    ended.

    Args:
        channel: Its subsystem is started.
        timeout: Seconds to wait for each answer.
    """

    def __init__(self, channel: paramiko.Channel, timeout: float) -> None:
        self._channel = channel
        self._timeout = timeout
        self._number = 0
        self._asked: set[int] = set()
        self._early: dict[int, tuple[int, Reader]] = {}
        self._greet()

    @property
    def server_banner(self) -> str:
        """The server's greeting, which names its software."""
        return str(self._channel.get_transport().remote_version)

    def stat(self, path: str) -> Attributes:
        """Ask about a file, or about what a link points to."""
        return _attributes(self._ask(_ATTRS, _STAT, path))

    def lstat(self, path: str) -> Attributes:
        """Ask about a file or a link itself."""
        return _attributes(self._ask(_ATTRS, _LSTAT, path))

    def normalize(self, path: str) -> str:
        """Return the absolute path without links, as the server sees it."""
        return self._one_name(_REALPATH, path)

    def readlink(self, path: str) -> str:
        """Return what a link points to."""
        return self._one_name(_READLINK, path)

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self._order(_MKDIR, path, 0)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._order(_RMDIR, path)

    def remove(self, path: str) -> None:
        """Remove a file or a link."""
        self._order(_REMOVE, path)

    def rename(self, old: str, new: str) -> None:
        """Rename; whether that replaces a file is the server's choice."""
        self._order(_RENAME, old, new)

    def posix_rename(self, old: str, new: str) -> None:
        """Rename, replacing what is there in one step; refused by servers without this extension."""
        self._order(_EXTENDED, "posix-rename@openssh.com", old, new)

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits."""
        self._order(_SETSTAT, path, _PERMISSIONS, mode)

    def opens_as_directory(self, path: str) -> bool:
        """Whether the server opens a path as a directory."""
        try:
            handle = self._ask(_HANDLE, _OPENDIR, path).string()
        except OSError as error:
            if isinstance(error, TimeoutError | ConnectionError):
                raise
            return False
        self._close(handle)
        return True

    def entries(self, path: str, enough: int = _MOST_ENTRIES) -> list[Entry]:
        """Return what a directory holds, without ``.`` and ``..``, in the server's order.

        Args:
            path: The directory.
            enough: Number after which the server is asked no more.

        Raises:
            MalformedError: also where there is no end to it, or a name that is none.
        """
        handle = self._ask(_HANDLE, _OPENDIR, path).string()
        held: list[Entry] = []
        empty = 0
        while len(held) < enough and (answer := self._ask_or_end(_NAME, _READDIR, handle)) is not None:
            found = list(_entries(answer))
            empty = 0 if found else empty + 1
            held += [entry for entry in found if entry.name not in (".", "..")]
            if len(held) >= _MOST_ENTRIES or empty > _MOST_EMPTY_ANSWERS:
                raise MalformedError(f"the listing of {shown(path)} has no end")
        self._close(handle)
        return held

    def statvfs(self, path: str) -> FileSystem | None:
        """Ask about the file system that holds `path`.

        Returns:
            None where the server cannot tell, also one that says it can: some refuse, some answer with no numbers.
        """
        number = self._send(_EXTENDED, "statvfs@openssh.com", path)
        kind, answer = self._receive(number)
        if kind != _EXTENDED_REPLY or answer.rest < _STATVFS.size:
            return None
        _, fragment, _, _, free, _, _, free_inodes, _, flags, _ = _STATVFS.unpack(answer.take(_STATVFS.size))
        return FileSystem(free * fragment, free_inodes, bool(flags & 1))

    def create(self, path: str, content: bytes, mode: int | None = None) -> None:
        """Write a file that is not there yet; its permissions are set before there is anything in it.

        A server that does not set permissions is not asked again: look at them afterwards.
        """
        flags = _WRITE_FLAG | _CREATE_FLAG | _EXCLUSIVE_FLAG
        given = (0,) if mode is None else (_PERMISSIONS, mode)
        handle = self._ask(_HANDLE, _OPEN, path, flags, *given).string()
        try:
            self._write(handle, content)
        except OSError as error:
            if not isinstance(error, TimeoutError | ConnectionError):
                self._close(handle)
            raise
        # Many a server finds out here that there is no space.
        self._order(_CLOSE, handle)

    def read(self, path: str) -> Iterator[bytes]:
        """Yield a file's content in blocks, up to its end.

        Raises:
            WrongLengthError: where it ends before, or goes on after, what the server said when it was opened.
        """
        handle = self._ask(_HANDLE, _OPEN, path, _READ_FLAG, 0).string()
        try:
            size = _attributes(self._ask(_ATTRS, _FSTAT, handle)).size
        except OSError as error:
            if isinstance(error, TimeoutError | ConnectionError):
                raise
            size = None
        done = 0
        for block in self._blocks(handle):
            done += len(block)
            if size is not None and done > size:
                break
            yield block
        self._close(handle)
        if size is not None and done != size:
            amount = "more" if done > size else f"only {done}"
            raise WrongLengthError(
                f"{shown(path)} had {size} bytes, and {amount} are read: it changes, or is cut short"
            )

    def _blocks(self, handle: bytes) -> Iterator[bytes]:
        """Yield blocks, asking for several at once: more each time, as long as they come in full."""
        at, block, together = 0, _BLOCK, 1
        while True:
            asked = [
                self._send(_READ, handle, struct.pack(">QI", at + index * block, block), raw=1)
                for index in range(together)
            ]
            answers = [self._receive(number) for number in asked]
            for answer in answers:
                data = _data(*answer, block)
                if not data:
                    return
                yield data
                at += len(data)
                if len(data) < block:
                    # The answers after it belong behind a gap: asked for again.
                    block, together = len(data), 1
                    break
            else:
                together = min(together * 2, _MOST_REQUESTS)

    def _write(self, handle: bytes, content: bytes) -> None:
        waiting: deque[int] = deque()
        failure: OSError | None = None
        for at in range(0, len(content), _BLOCK):
            part = content[at : at + _BLOCK]
            if len(waiting) == _MOST_REQUESTS:
                failure = failure or self._status(waiting.popleft())
            if failure:
                break
            waiting.append(self._send(_WRITE, handle, struct.pack(">Q", at), part, raw=1))
        for number in waiting:
            failure = failure or self._status(number)
        if failure:
            raise failure

    def _status(self, number: int) -> OSError | None:
        kind, answer = self._receive(number)
        return _refusal(kind, answer)

    def _close(self, handle: bytes) -> None:
        """Close a handle through which nothing was written: what the server says to it is of no interest."""
        self._receive(self._send(_CLOSE, handle))

    def _one_name(self, kind: int, path: str) -> str:
        answer = self._ask(_NAME, kind, path)
        if answer.number() != 1:
            raise MalformedError(f"one name was asked for at {shown(path)}, and others came")
        return _path(answer.string())

    def _order(self, kind: int, *fields: str | bytes | int) -> None:
        failure = _refusal(*self._receive(self._send(kind, *fields)))
        if failure:
            raise failure

    def _ask(self, wanted: int, kind: int, *fields: str | bytes | int) -> Reader:
        answer = self._ask_or_end(wanted, kind, *fields)
        if answer is None:
            raise OSError("end of file")
        return answer

    def _ask_or_end(self, wanted: int, kind: int, *fields: str | bytes | int) -> Reader | None:
        """Return the fields of an answer; None for the status "end of file"."""
        found, answer = self._receive(self._send(kind, *fields))
        if found == wanted:
            return answer
        if found != _STATUS:
            raise MalformedError(f"request {kind} is answered by {found} instead of {wanted}")
        code, failure = _status(answer)
        if code == _EOF:
            return None
        if failure is None:
            raise MalformedError(f"request {kind} is answered by 'OK' and nothing else")
        raise failure

    def _send(self, kind: int, *fields: str | bytes | int, raw: int | None = None) -> int:
        """Send a request and return its number; the field at position `raw` goes without its length."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        parts = [bytes([kind]), self._number.to_bytes(4, "big")]
        for position, field in enumerate(fields):
            if isinstance(field, int):
                parts.append(field.to_bytes(4, "big"))
                continue
            data = field.encode("utf-8", "surrogateescape") if isinstance(field, str) else field
            if position != raw:
                parts.append(len(data).to_bytes(4, "big"))
            parts.append(data)
        packet = b"".join(parts)
        self._channel.settimeout(self._timeout)
        self._channel.sendall(len(packet).to_bytes(4, "big") + packet)
        self._asked.add(self._number)
        return self._number

    def _receive(self, number: int) -> tuple[int, Reader]:
        """Return the answer to a request; those to other open requests are kept for when they are asked for."""
        while number not in self._early:
            kind, reader = self._packet()
            answered = reader.number()
            if answered not in self._asked:
                raise MalformedError(
                    f"an answer comes to request {answered}, which was not asked or is answered"
                )
            self._asked.discard(answered)
            self._early[answered] = kind, reader
        return self._early.pop(number)

    def _packet(self) -> tuple[int, Reader]:
        deadline = time.monotonic() + self._timeout
        size = int.from_bytes(self._exactly(4, deadline), "big")
        if not 0 < size <= _LONGEST_PACKET:
            raise MalformedError(f"an answer of {size} bytes is announced")
        packet = self._exactly(size, deadline)
        return packet[0], Reader(packet[1:])

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._channel.settimeout(max(deadline - time.monotonic(), 0.001))
            part = self._channel.recv(size - len(data))
            if not part:
                raise EOFError(self._last_words())
            data += part
        return bytes(data)

    def _last_words(self) -> str:
        channel = self._channel
        channel.status_event.wait(0.5)
        known = channel.exit_status != NO_EXIT_STATUS
        status = f" with exit status {channel.exit_status}" if known else ""
        said = channel.recv_stderr(_LONGEST_TEXT) if channel.recv_stderr_ready() else b""
        words = f" and says {said.decode('utf-8', 'replace').strip()!r}" if said.strip() else ""
        return f"the SFTP session ends{status}{words}"

    def _greet(self) -> None:
        self._channel.settimeout(self._timeout)
        self._channel.sendall(struct.pack(">IBI", 5, _INIT, 3))
        deadline = time.monotonic() + self._timeout
        head = self._exactly(4, deadline)
        size = int.from_bytes(head, "big")
        # The lengths of text are larger: its letters are read as one.
        packet = self._exactly(size, deadline) if 5 <= size <= _LONGEST_PACKET else b""
        if packet[:1] != bytes([_VERSION]):
            raise GarbledError(
                repr((head + (packet or self._what_follows()))[:200].decode("utf-8", "replace").strip())
            )
        version = int.from_bytes(packet[1:5], "big")
        if version < 3:
            raise GarbledError(f"SFTP version {version}; 3 is needed")

    def _what_follows(self) -> bytes:
        self._channel.settimeout(0.2)
        try:
            return bytes(self._channel.recv(200))
        except TimeoutError:
            return b""


def shown(path: str) -> str:
    """Return a path for people and JSON: what is not UTF-8 in it as ``\\xff``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _path(name: bytes) -> str:
    if not 0 < len(name) <= _LONGEST_NAME or b"\0" in name:
        raise MalformedError(f"a name of {len(name)} bytes is none: {name[:40]!r}")
    return name.decode("utf-8", "surrogateescape")


def _entries(answer: Reader) -> Iterator[Entry]:
    # An entry has two lengths and flags at least: a larger count is not worth trying.
    count = answer.number()
    if count * 12 > answer.rest:
        raise MalformedError(f"{count} names are announced in {answer.rest} bytes")
    for _ in range(count):
        name = _path(answer.string())
        answer.string()
        attributes = _attributes(answer)
        if "/" in name:
            raise MalformedError(f"the listing holds {shown(name)!r}, which is no name")
        yield Entry(name, attributes)


def _attributes(answer: Reader) -> Attributes:
    flags = answer.number()
    size = answer.number(8) if flags & _SIZE else None
    if flags & _OWNERS:
        answer.take(8)
    mode = answer.number() if flags & _PERMISSIONS else None
    modified = None
    if flags & _TIMES:
        answer.number()
        modified = answer.number()
    for _ in range(answer.number() if flags & _MORE else 0):
        answer.string()
        answer.string()
    return Attributes(size, mode, modified)


def _data(kind: int, answer: Reader, asked: int) -> bytes:
    """Return what READ brought; nothing at the end of the file."""
    if kind == _DATA:
        data = answer.string()
        if len(data) > asked:
            raise MalformedError(f"{len(data)} bytes come where {asked} were asked for")
        return data
    if kind != _STATUS:
        raise MalformedError(f"a read is answered by {kind}")
    code, failure = _status(answer)
    if code == _EOF:
        return b""
    raise failure or MalformedError("a read is answered by 'OK' and nothing else")


def _refusal(kind: int, answer: Reader) -> OSError | None:
    """Return what a status refuses; None if it says OK."""
    if kind != _STATUS:
        raise MalformedError(f"a status was due, and {kind} comes")
    return _status(answer)[1]


def _status(answer: Reader) -> tuple[int, OSError | None]:
    code = answer.number()
    # Servers of the first days send no text.
    text = answer.text()[:_LONGEST_TEXT] if answer.rest else ""
    if code == _OK:
        return code, None
    number = _ERRNO_OF_CODE.get(code)
    if code in (_PERMISSION_DENIED, _FAILURE):
        told = (known for words, known in _ERRNO_OF_WORDS.items() if words.search(text))
        number = next(told, number)
    if number is None:
        return code, OSError(text or f"status {code}")
    return code, OSError(number, text or "refused")
