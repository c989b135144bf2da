# SPDX-License-Identifier: Apache-2.0
"""SFTP version 3 on an asyncssh channel, built for many requests in flight.

asyncssh's own SFTP client spends one task, two stream reads and one SSH packet on every request; here every
method queues a request and returns a future, requests queued in one turn of the loop share SSH packets, and
answers are parsed in place (docs/data-plane.md has the measurement). SSH itself stays asyncssh's.
"""

import asyncio
import math
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import asyncssh

from mlflow_sftp.wire.channel_writing import write_pieces
from mlflow_sftp.wire.packets import (
    FX_EOF,
    FX_OK,
    FXP_ATTRS,
    FXP_CLOSE,
    FXP_DATA,
    FXP_EXTENDED,
    FXP_EXTENDED_REPLY,
    FXP_FSTAT,
    FXP_HANDLE,
    FXP_INIT,
    FXP_LSTAT,
    FXP_MKDIR,
    FXP_NAME,
    FXP_OPEN,
    FXP_OPENDIR,
    FXP_READ,
    FXP_READDIR,
    FXP_READLINK,
    FXP_REALPATH,
    FXP_REMOVE,
    FXP_RENAME,
    FXP_RMDIR,
    FXP_STAT,
    FXP_STATUS,
    FXP_VERSION,
    FXP_WRITE,
    HEADER,
    LIMITS,
    NO_ATTRIBUTES,
    U32,
    U64,
    VERSION,
    Attributes,
    BadAnswerError,
    Name,
    PacketReader,
    SessionLostError,
    Space,
    StatusError,
    decode_attributes,
    decode_body,
    decode_data,
    decode_handle,
    decode_names,
    decode_nothing,
    decode_path,
    decode_space,
    decode_status_text,
    encode_string,
)

# Type and number of a request; the longest that OpenSSH's own client takes, and more than anything asked for here.
_SHORTEST_PACKET, _LONGEST_PACKET = 5, 256 << 10
# What every server must take (the draft's 34000-byte packet), and what a request may ask for at most: OpenSSH
# offers 255 KiB, and larger answers would only hold up the requests behind them.
_SAFE_BLOCK, _LARGEST_BLOCK = 32 << 10, 255 << 10
# Where a server says nothing. Green End's dies of the 129th, counting those whose CLOSE is on its way.
SAFE_HANDLES = 100
# How much of what waits for the channel's window is handed over at once.
_SEND_CHUNK = 256 << 10
_SPARE_HANDLES = 16
# After so many seconds without an answer somebody may want to be told, and again after as many.
SILENCE_SECONDS = 5.0
# What a server may be at for long, with a large file or a store behind it: see `busy_timeout`.
_SLOW_REQUESTS = (FXP_CLOSE, FXP_RENAME)
_QUICK_EXTENSIONS = (b"limits@openssh.com", b"statvfs@openssh.com")


T = TypeVar("T")


class _Channel(Protocol):
    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


class _Pending(Generic[T]):
    """A request that is not answered: the type of answer that is due, what makes sense of it, who waits for it.

    The end of a file or directory, which a status tells, is to `decode` an empty packet.
    """

    __slots__ = ("decode", "future", "kind")

    def __init__(self, kind: int, decode: Callable[[bytes], T], future: "asyncio.Future[T]") -> None:
        self.kind = kind
        self.decode = decode
        self.future = future


class SftpSession(asyncssh.SSHClientSession[bytes]):
    """One SFTP session: methods queue a request at once and return a future of its decoded answer.

    Futures raise StatusError or SessionLostError. Paths and handles are bytes. `block` is the largest number of
    bytes for one read or write, `max_handles` the number of files the server lets one session hold open; both are
    what every server takes until `limits` is done. `on_open(session)` is called as soon as requests may be made, which
    is before the server's greeting (`ready`) tells what extensions it has, `on_silence(seconds)` now and again while
    the server owes an answer.

    A session that is silent for `stall_timeout` seconds is given up. While the server closes, renames or syncs a file
    it is waited for up to `busy_timeout`, as long as `ask_peer()` returns: its SSH side answers.
    """

    def __init__(
        self,
        stall_timeout: float,
        on_open: Callable[["SftpSession"], object] = lambda _: None,
        on_silence: Callable[[float], object] = lambda _: None,
        *,
        busy_timeout: float = 0.0,
        ask_peer: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stall_timeout = stall_timeout
        self._on_open = on_open
        self._on_silence = on_silence
        self._busy_timeout = busy_timeout
        self._ask_peer = ask_peer
        self._asking: asyncio.Task[None] | None = None
        self._peer_answered = -math.inf
        self._slow: set[int] = set()
        self._channel: _Channel | None = None
        self._buffer = bytearray()
        self._queued: list[bytes | memoryview] = []
        # Requests on files with writes among them, and how many there are of each file.
        self._waiting: deque[tuple[bytes, tuple[bytes | memoryview, ...]]] = deque()
        self._waiting_on: dict[bytes, int] = {}
        self._window_full = False
        self._flushing = False
        self._pending: dict[int, _Pending[Any]] = {}
        self._next_id = 0
        self._last_received = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._lost: str | None = None
        self._defective = False
        self._version: asyncio.Future[None] = self._loop.create_future()
        self._limits: asyncio.Future[None] = self._loop.create_future()
        self._init_sent = 0.0
        self.extensions: dict[bytes, bytes] = {}
        self.block = _SAFE_BLOCK
        self.max_handles = SAFE_HANDLES
        self.tells_max_handles = False
        self.round_trip = 0.0

    # --- life of the session (called by asyncssh) ---

    def connection_made(self, chan: Any) -> None:
        self._channel = chan
        # The server drops data that comes before the subsystem request, which is sent right after this returns.
        self._loop.call_soon(self._send_init)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is not None:
            return
        self._last_received = self._loop.time()
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        try:
            while end - start >= 4:
                size = int.from_bytes(buffer[start : start + 4])
                if not _SHORTEST_PACKET <= size <= _LONGEST_PACKET:
                    raise ValueError(f"a packet of {size} bytes")
                if end - start - 4 < size:
                    break
                self._answer(bytes(memoryview(buffer)[start + 4 : start + 4 + size]))  # One copy, not two.
                start += 4 + size
        except (ValueError, struct.error) as error:
            self.abort(f"the server sent something that is not SFTP: {error}", defective=True)
            return
        if start:
            del buffer[:start]

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._window_full = True

    def resume_writing(self) -> None:
        self._window_full = False
        self._flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "the server closed the session")

    def abort(self, reason: str, *, defective: bool = False) -> None:
        """End the session at once; all that waits on it fails with SessionLostError(reason).

        `defective`: the server does what it will do again when it is asked again.
        """
        self._end(reason, defective=defective)
        if self._channel is not None:
            self._channel.abort()

    def close(self) -> None:
        """End the session in an orderly way."""
        self._end("the session was closed")
        if self._channel is not None:
            self._channel.close()

    @property
    def alive(self) -> bool:
        return self._lost is None

    @property
    def was_defective(self) -> bool:
        """Whether it ended because of something that is not SFTP: what came just before may have been no better."""
        return self._defective

    @property
    def replaces_atomically(self) -> bool:
        """Whether the server can rename over an existing file, atomically."""
        return b"posix-rename@openssh.com" in self.extensions

    def refuse_posix_rename(self) -> None:
        """Take it that the server has no posix-rename@openssh.com, whatever it announced."""
        self.extensions.pop(b"posix-rename@openssh.com", None)

    @property
    def announces_statvfs(self) -> bool:
        """Whether the server says that it can tell what is free."""
        return b"statvfs@openssh.com" in self.extensions

    @property
    def announces_fsync(self) -> bool:
        """Whether the server says that it can bring a file to its disk."""
        return b"fsync@openssh.com" in self.extensions

    async def ready(self) -> None:
        """Wait for the server's version and extensions, and ask for its limits without waiting for them."""
        await self._version
        asked = self._loop.time()
        known = b"limits@openssh.com" in self.extensions
        answer = self.extended(b"limits@openssh.com") if known else self.realpath(b".")

        def on_limits(answer: "asyncio.Future[bytes]") -> None:
            # The greeting came later by what it takes to start a server process.
            self.round_trip = min(self.round_trip, self._loop.time() - asked)
            if known and answer.exception() is None:
                self._take_limits(answer.result())
            if not self._limits.done():
                self._limits.set_result(None)

        answer.add_done_callback(on_limits)

    async def limits(self) -> "SftpSession":
        """Wait until `block`, `max_handles` and `round_trip` (seconds) are known."""
        await asyncio.shield(self._limits)
        return self

    def when_limits_are_known(self, tell: Callable[["SftpSession"], object]) -> None:
        """Call `tell(session)` once `limits` is done; never where the session ends before."""

        def known(done: "asyncio.Future[None]") -> None:
            if not done.cancelled() and done.exception() is None:
                tell(self)

        self._limits.add_done_callback(known)

    def _take_limits(self, answer: bytes) -> None:
        if len(answer) < LIMITS.size:
            return  # What every server takes will do.
        packet, read, write, handles = LIMITS.unpack_from(answer)
        largest = min(read or _LARGEST_BLOCK, write or _LARGEST_BLOCK, packet or _LARGEST_BLOCK)
        self.block = max(_SAFE_BLOCK, min(largest, _LARGEST_BLOCK))
        self.tells_max_handles = handles > 0
        self.max_handles = max(1, handles - _SPARE_HANDLES) if handles else SAFE_HANDLES

    # --- requests ---

    def open(self, path: bytes, flags: int) -> "asyncio.Future[bytes]":
        return self._request(
            FXP_OPEN, FXP_HANDLE, decode_handle, encode_string(path), U32.pack(flags), NO_ATTRIBUTES
        )

    def close_handle(self, handle: bytes) -> "asyncio.Future[None]":
        return self._request(FXP_CLOSE, FXP_STATUS, decode_nothing, encode_string(handle), handle=handle)

    def read(self, handle: bytes, offset: int, size: int) -> "asyncio.Future[bytes]":
        """Up to `size` bytes; fewer mean nothing but that the server sent fewer; b"" means end of file."""
        parts = encode_string(handle), U64.pack(offset), U32.pack(size)
        return self._request(FXP_READ, FXP_DATA, partial(decode_data, size), *parts, handle=handle)

    def write(self, handle: bytes, offset: int, data: bytes | memoryview) -> "asyncio.Future[None]":
        """Write; while the server grants no more window this waits, and requests on other files pass it."""
        head = encode_string(handle) + U64.pack(offset) + U32.pack(len(data))
        return self._request(FXP_WRITE, FXP_STATUS, decode_nothing, head, data, handle=handle)

    def stat(self, path: bytes) -> "asyncio.Future[Attributes]":
        return self._request(FXP_STAT, FXP_ATTRS, decode_attributes, encode_string(path))

    def lstat(self, path: bytes) -> "asyncio.Future[Attributes]":
        return self._request(FXP_LSTAT, FXP_ATTRS, decode_attributes, encode_string(path))

    def fstat(self, handle: bytes) -> "asyncio.Future[Attributes]":
        return self._request(FXP_FSTAT, FXP_ATTRS, decode_attributes, encode_string(handle), handle=handle)

    def opendir(self, path: bytes) -> "asyncio.Future[bytes]":
        return self._request(FXP_OPENDIR, FXP_HANDLE, decode_handle, encode_string(path))

    def readdir(self, handle: bytes) -> "asyncio.Future[list[Name] | None]":
        """Some entries, "." and ".." included, and whatever else the server takes for a name; None means no more."""
        return self._request(FXP_READDIR, FXP_NAME, decode_names, encode_string(handle))

    def realpath(self, path: bytes) -> "asyncio.Future[bytes]":
        return self._request(FXP_REALPATH, FXP_NAME, decode_path, encode_string(path))

    def readlink(self, path: bytes) -> "asyncio.Future[bytes]":
        return self._request(FXP_READLINK, FXP_NAME, decode_path, encode_string(path))

    def mkdir(self, path: bytes) -> "asyncio.Future[None]":
        return self._request(FXP_MKDIR, FXP_STATUS, decode_nothing, encode_string(path), NO_ATTRIBUTES)

    def rmdir(self, path: bytes) -> "asyncio.Future[None]":
        return self._request(FXP_RMDIR, FXP_STATUS, decode_nothing, encode_string(path))

    def remove(self, path: bytes) -> "asyncio.Future[None]":
        return self._request(FXP_REMOVE, FXP_STATUS, decode_nothing, encode_string(path))

    def rename(self, old: bytes, new: bytes) -> "asyncio.Future[None]":
        """Rename; version 3 servers refuse when `new` exists."""
        return self._request(FXP_RENAME, FXP_STATUS, decode_nothing, encode_string(old), encode_string(new))

    def posix_rename(self, old: bytes, new: bytes) -> "asyncio.Future[None]":
        """Rename, replacing `new` atomically; only where the server has posix-rename@openssh.com."""
        name = encode_string(b"posix-rename@openssh.com")
        return self._request(
            FXP_EXTENDED, FXP_STATUS, decode_nothing, name, encode_string(old), encode_string(new)
        )

    def fsync(self, handle: bytes) -> "asyncio.Future[None]":
        """Have what was written brought to the disk; see `announces_fsync`."""
        name = encode_string(b"fsync@openssh.com")
        return self._request(
            FXP_EXTENDED, FXP_STATUS, decode_nothing, name, encode_string(handle), handle=handle
        )

    def statvfs(self, path: bytes) -> "asyncio.Future[Space | None]":
        """The space where `path` is, None where the answer makes no sense; see `announces_statvfs`."""
        name = encode_string(b"statvfs@openssh.com")
        return self._request(FXP_EXTENDED, FXP_EXTENDED_REPLY, decode_space, name, encode_string(path))

    def extended(self, name: bytes, *parts: bytes) -> "asyncio.Future[bytes]":
        return self._request(FXP_EXTENDED, FXP_EXTENDED_REPLY, decode_body, encode_string(name), *parts)

    # --- sending ---

    def _request(
        self,
        kind: int,
        answer: int,
        decode: Callable[[bytes], T],
        *parts: bytes | memoryview,
        handle: bytes = b"",
    ) -> "asyncio.Future[T]":
        """Queue a request; those on one file, named by `handle`, keep their order."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._lost is not None:
            _fail(future, SessionLostError(self._lost, self._defective))
            return future
        if not self._pending:
            self._last_received = self._loop.time()
        number = self._next_id
        self._next_id = (number + 1) & 0xFFFFFFFF
        self._pending[number] = _Pending(answer, decode, future)
        if kind in _SLOW_REQUESTS or (kind == FXP_EXTENDED and parts[0][4:] not in _QUICK_EXTENSIONS):
            self._slow.add(number)
        header = HEADER.pack(5 + sum(map(len, parts)), kind, number)
        if kind == FXP_WRITE or handle in self._waiting_on:
            self._waiting.append((handle, (header, *parts)))
            self._waiting_on[handle] = self._waiting_on.get(handle, 0) + 1
        else:
            self._queued += (header, *parts)
        self._flush_soon()
        if self._watch is None:
            self._watch_for_silence(0.0)
        return future

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        queued, self._queued = self._queued, []
        room = 0 if self._window_full else _SEND_CHUNK
        while self._waiting and room > 0:
            request = self._next_waiting()
            room -= sum(map(len, request))
            queued += request
        if self._channel is None or self._lost is not None or not queued:
            return
        try:
            write_pieces(self._channel, queued)
        except OSError as error:
            self.abort(str(error))
        if self._waiting and not self._window_full:
            self._flush_soon()

    def _next_waiting(self) -> tuple[bytes | memoryview, ...]:
        handle, request = self._waiting.popleft()
        if self._waiting_on[handle] > 1:
            self._waiting_on[handle] -= 1
        else:
            del self._waiting_on[handle]
        return request

    def _send_init(self) -> None:
        self._queued.append(U32.pack(5) + bytes([FXP_INIT]) + U32.pack(VERSION))
        self._flush_soon()
        self._init_sent = self._loop.time()
        self._watch_for_silence(0.0)
        self._on_open(self)

    # --- receiving ---

    def _answer(self, packet: bytes) -> None:
        kind = packet[0]
        if kind == FXP_VERSION:
            self._read_version(packet)
            return
        (number,) = U32.unpack_from(packet, 1)
        waiting = self._pending.pop(number, None)
        self._slow.discard(number)
        if waiting is None:
            raise ValueError(f"an answer to request {number}, which is not open")
        future = waiting.future
        # An answer that does not fit its question concerns nobody else: the session goes on.
        try:
            if kind == FXP_STATUS:
                self._resolve_status(waiting, packet)
            elif kind != waiting.kind:
                raise ValueError(f"an answer of type {kind} where {waiting.kind} was due")
            elif not future.done():
                future.set_result(waiting.decode(packet))
            elif kind == FXP_HANDLE:
                # Its owner was cancelled; a handle that nobody knows would stay open on the server.
                self.close_handle(decode_handle(packet))
        except struct.error:
            _fail(future, BadAnswerError("the server's answer makes no sense: it ends too soon"))
        except ValueError as error:
            _fail(future, BadAnswerError(f"the server's answer makes no sense: {error}"))

    def _resolve_status(self, waiting: _Pending[Any], packet: bytes) -> None:
        (code,) = U32.unpack_from(packet, 5)
        if waiting.future.done():
            return
        if code == FX_OK and waiting.kind == FXP_STATUS:
            waiting.future.set_result(None)
        elif code == FX_OK:
            raise ValueError(f"it says that all is well where an answer of type {waiting.kind} was due")
        elif code == FX_EOF and waiting.kind in (FXP_DATA, FXP_NAME) and waiting.decode is not decode_path:
            waiting.future.set_result(waiting.decode(b""))
        else:
            _fail(waiting.future, StatusError(code, decode_status_text(packet)))

    def _read_version(self, packet: bytes) -> None:
        reader = PacketReader(packet, 1)
        version = reader.u32()
        if self._version.done():
            raise ValueError("a second greeting")
        if version != VERSION:
            raise ValueError(f"SFTP version {version}; version {VERSION} is needed")
        while reader.left():
            name = reader.string()
            self.extensions[name] = reader.string()
        self.round_trip = self._loop.time() - self._init_sent
        self._version.set_result(None)

    def _check_stall(self) -> None:
        self._watch = None
        if self._lost is not None or not (self._pending or not self._version.done()):
            return
        silent = self._loop.time() - self._last_received
        if silent >= self._stall_timeout and not self._is_busy(silent):
            self.abort(f"the server has not answered for {silent:.0f} s")
            return
        if silent >= SILENCE_SECONDS:
            self._on_silence(silent)
        self._watch_for_silence(silent)

    def _watch_for_silence(self, silent: float) -> None:
        if silent and self._slow and self._ask_peer is not None and self._asking is None:
            self._asking = self._loop.create_task(self._hear_peer(self._ask_peer()))
        left = self._stall_timeout - silent
        due = min(SILENCE_SECONDS, self._stall_timeout / 2, left if left > 0 else SILENCE_SECONDS)
        self._watch = self._loop.call_later(due, self._check_stall)

    async def _hear_peer(self, answer: Awaitable[object]) -> None:
        try:
            await answer
            self._peer_answered = self._loop.time()
        except (asyncssh.Error, OSError):
            pass  # The connection is lost, which ends the session too.
        finally:
            self._asking = None

    def _is_busy(self, silent: float) -> bool:
        """Tell whether a server that says nothing is at work on something that may take long."""
        heard = self._loop.time() - self._peer_answered < self._stall_timeout
        return bool(self._slow) and heard and silent < self._busy_timeout

    def _end(self, reason: str, *, defective: bool = False) -> None:
        if self._lost is not None:
            return
        self._lost, self._defective = reason, defective
        if self._watch is not None:
            self._watch.cancel()
        if self._asking is not None:
            self._asking.cancel()
        _fail(self._version, SessionLostError(reason, defective))
        _fail(self._limits, SessionLostError(reason, defective))
        self._waiting.clear()
        self._waiting_on.clear()
        pending, self._pending = self._pending, {}
        for waiting in pending.values():
            _fail(waiting.future, SessionLostError(reason, defective))


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        # Marks it as seen: of several requests sent together only the first failure is awaited.
        future.exception()
