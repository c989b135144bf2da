"""An SFTP server in memory, beneath the session: no SSH, no process, and every answer can be spoiled on its way.

`ModelServer` works on packets and is the truth that a client's result is held to. `ModelConnections` are connections
to it. `run_quickly` runs a coroutine on a loop whose clock jumps to the next timer when there is nothing to do.
"""

import asyncio
import posixpath
import selectors
import stat
import struct
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import asyncssh

from mlflow_sftp.settings import Settings
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.uri import Endpoint
from mlflow_sftp.wire.connections import Connection, Connections
from mlflow_sftp.wire.server_traits import ServerTraits
from mlflow_sftp.wire.session import SftpSession

T = TypeVar("T")
# Changes answers on their way: gets the packets that answer one request (without length), returns what is sent.
Spoil = Callable[[list[bytes]], bytes]
# Answers a request itself, or returns None: type, number (4 bytes), the rest.
Intercept = Callable[[int, bytes, bytes], bytes | list[bytes] | None]

_NO_SUCH_FILE, _FAILURE, _BAD_MESSAGE, _UNSUPPORTED = 2, 4, 5, 8
_DIRECTORY, _FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
MTIME = 1_600_000_000


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def status(number: bytes, code: int, text: bytes = b"") -> bytes:
    return b"\x65" + number + struct.pack(">I", code) + string(text) + string(b"")


def attributes(size: int, mode: int, mtime: int = MTIME) -> bytes:
    return struct.pack(">IQIIII", 0x1 | 0x4 | 0x8, size, mode, mtime, mtime, 0)[:-4]


def frame(packet: bytes) -> bytes:
    return string(packet)


def frames(packets: list[bytes]) -> bytes:
    return b"".join(map(frame, packets))


class _Error(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class ModelServer:
    """Files and directories below /root, and what a version 3 server does with them.

    Attributes:
        files: Contents by absolute path.
        directories: Absolute paths.
        mtimes: Times that are not MTIME.
        page: Entries in one answer to READDIR.
        extensions: What the greeting announces.
    """

    def __init__(
        self, files: dict[bytes, bytes] | None = None, *, atomic: bool = True, page: int = 3
    ) -> None:
        self.files = {b"/root/" + name: bytearray(data) for name, data in (files or {}).items()}
        self.directories = {b"/", b"/root"}
        self.mtimes: dict[bytes, int] = {}
        for path in self.files:
            while (path := posixpath.dirname(path)) not in self.directories:
                self.directories.add(path)
        self.page = page
        self.extensions = [b"posix-rename@openssh.com"] if atomic else []
        self.extensions += [b"limits@openssh.com", b"fsync@openssh.com"]
        self.intercept: Intercept = lambda kind, number, body: None
        self.spoil: Spoil = frames
        self.requests = 0
        self._open: dict[bytes, tuple[bytes, list[bytes] | bytearray]] = {}
        self._opened = 0

    def contents(self) -> dict[bytes, bytes]:
        """The files by their path below /root."""
        return {path.removeprefix(b"/root/"): bytes(data) for path, data in self.files.items()}

    def open_handles(self) -> int:
        """How many files and directories are open."""
        return len(self._open)

    def answer(self, packet: bytes) -> bytes:
        """Return the bytes that answer a request."""
        self.requests += 1
        return self.spoil(self._packets(packet))

    def _packets(self, packet: bytes) -> list[bytes]:
        kind, number, body = packet[0], packet[1:5], packet[5:]
        if kind == 1:
            extensions = b"".join(string(name) + string(b"1") for name in self.extensions)
            return [b"\x02" + struct.pack(">I", 3) + extensions]
        own = self.intercept(kind, number, body)
        if own is not None:
            return own if isinstance(own, list) else [own]
        try:
            return [self._do(kind, number, _Fields(body))]
        except _Error as error:
            return [status(number, error.code)]

    def _do(self, kind: int, number: bytes, fields: "_Fields") -> bytes:
        if kind == 200:
            return self._extended(number, fields)
        name = fields.string()
        if len(name) > 1:
            name = name.rstrip(b"/")
        if kind in (4, 5, 6, 8, 12):
            return self._on_handle(kind, number, name, fields)
        if kind == 3:
            return self._open_file(number, name, fields.u32())
        if kind in (7, 17):
            return b"\x69" + number + self._attributes(name)
        if kind == 11:
            return self._open_directory(number, name)
        if kind == 16:
            path = posixpath.normpath(posixpath.join(b"/root", name))
            return b"\x68" + number + struct.pack(">I", 1) + string(path) + string(path) + bytes(4)
        if kind == 18:
            new = fields.string()
            if new in self.files or new in self.directories:
                raise _Error(_FAILURE)
            self._rename(name, new)
        elif kind == 13:
            self._need(name in self.files)
            del self.files[name]
        elif kind == 14:
            self._need(posixpath.dirname(name) in self.directories)
            if name in self.directories or name in self.files:
                raise _Error(_FAILURE)
            self.directories.add(name)
        elif kind == 15:
            self._need(name in self.directories)
            if self._names(name):
                raise _Error(_FAILURE)
            self.directories.remove(name)
        else:
            raise _Error(_FAILURE if kind == 19 else _UNSUPPORTED)
        return status(number, 0)

    def _extended(self, number: bytes, fields: "_Fields") -> bytes:
        name = fields.string()
        if name not in self.extensions:
            raise _Error(_UNSUPPORTED)
        if name == b"limits@openssh.com":
            return b"\xc9" + number + struct.pack(">QQQQ", 1 << 18, 1 << 16, 1 << 16, 100)
        if name == b"posix-rename@openssh.com":
            old, new = fields.string(), fields.string()
            self._need(old in self.files)
            if new in self.directories:
                raise _Error(_FAILURE)
            self.files.pop(new, None)
            self._rename(old, new)
        return status(number, 0)

    def _on_handle(self, kind: int, number: bytes, handle: bytes, fields: "_Fields") -> bytes:
        if handle not in self._open:
            raise _Error(_FAILURE)
        path, opened = self._open[handle]
        if kind == 4:
            del self._open[handle]
            return status(number, 0)
        if isinstance(opened, list):
            if kind != 12:
                raise _Error(_FAILURE)
            return self._read_directory(number, path, opened)
        if kind == 8:
            return b"\x69" + number + attributes(len(opened), _FILE, self.mtimes.get(path, MTIME))
        offset, size = fields.u64(), fields.u32()
        if kind == 5:
            data = bytes(opened[offset : offset + min(size, 1 << 16)])
            return b"\x67" + number + string(data) if data else status(number, 1)
        if kind != 6:
            raise _Error(_FAILURE)
        data = fields.rest()[:size]
        opened.extend(bytes(max(0, offset - len(opened))))
        opened[offset : offset + len(data)] = data
        return status(number, 0)

    def _open_file(self, number: bytes, path: bytes, flags: int) -> bytes:
        self._need(posixpath.dirname(path) in self.directories)
        if path in self.directories or (path in self.files and flags & 0x20):
            raise _Error(_FAILURE)
        self._need(path in self.files or bool(flags & 0x08))
        data = self.files.setdefault(path, bytearray())
        if flags & 0x10:
            data.clear()
        return self._new_handle(number, path, data)

    def _open_directory(self, number: bytes, path: bytes) -> bytes:
        self._need(path in self.directories)
        return self._new_handle(number, path, [b".", b"..", *self._names(path)])

    def _new_handle(self, number: bytes, path: bytes, opened: list[bytes] | bytearray) -> bytes:
        self._opened += 1
        handle = b"handle-%d" % self._opened
        self._open[handle] = path, opened
        return b"\x66" + number + string(handle)

    def _read_directory(self, number: bytes, path: bytes, names: list[bytes]) -> bytes:
        page, names[: self.page] = names[: self.page], []
        if not page:
            return status(number, 1)
        entries = [
            string(name) + string(b"") + self._attributes(posixpath.normpath(posixpath.join(path, name)))
            for name in page
        ]
        return b"\x68" + number + struct.pack(">I", len(page)) + b"".join(entries)

    def _names(self, directory: bytes) -> list[bytes]:
        inside = {path for path in (*self.files, *self.directories) if posixpath.dirname(path) == directory}
        return sorted(posixpath.basename(path) for path in inside - {b"/"})

    def _attributes(self, path: bytes) -> bytes:
        if path in self.directories:
            return attributes(4096, _DIRECTORY)
        self._need(path in self.files)
        return attributes(len(self.files[path]), _FILE, self.mtimes.get(path, MTIME))

    def _rename(self, old: bytes, new: bytes) -> None:
        self._need(old in self.files)
        self.files[new] = self.files.pop(old)

    @staticmethod
    def _need(there: bool) -> None:
        if not there:
            raise _Error(_NO_SUCH_FILE)


class _Fields:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def _take(self, size: int) -> bytes:
        value = self._body[self._at : self._at + size]
        if len(value) != size:
            raise _Error(_BAD_MESSAGE)
        self._at += size
        return value

    def u32(self) -> int:
        return int.from_bytes(self._take(4))

    def u64(self) -> int:
        return int.from_bytes(self._take(8))

    def string(self) -> bytes:
        return self._take(self.u32())

    def rest(self) -> bytes:
        return self._body[self._at :]


class _Channel:
    """What a session writes to; answers come in a later turn of the loop, as from a network."""

    def __init__(self, session: SftpSession, server: ModelServer) -> None:
        self._session = session
        self._server = server
        self._buffer = bytearray()
        self._closed = False

    def write(self, data: bytes) -> None:
        self._buffer += data
        answers = bytearray()
        while len(self._buffer) >= 4 and len(self._buffer) >= 4 + int.from_bytes(self._buffer[:4]):
            size = int.from_bytes(self._buffer[:4])
            answers += self._server.answer(bytes(self._buffer[4 : 4 + size]))
            del self._buffer[: 4 + size]
        if answers:
            asyncio.get_running_loop().call_soon(self._deliver, bytes(answers))

    def _deliver(self, data: bytes) -> None:
        for start in range(0, len(data), 1 << 15):
            if self._closed:
                return
            self._session.data_received(data[start : start + (1 << 15)], None)

    def close(self) -> None:
        self._closed = True

    abort = close


class _Ssh:
    """As much of an SSH connection as is asked for where there is none: no shell, no more channels."""

    closed = False

    def is_closed(self) -> bool:
        return self.closed

    async def run(self, *_: object, **__: object) -> object:
        raise OSError("no shell")

    async def create_session(self, *_: object, **__: object) -> object:
        raise asyncssh.ChannelOpenError(1, "no more channels")

    def close(self) -> None:
        self.closed = True

    abort = close

    async def wait_closed(self) -> None:
        return


class ModelConnections(Connections):
    """Connections to a `ModelServer`; what is learned about it is forgotten with them."""

    def __init__(self, server: ModelServer, settings: Settings) -> None:
        super().__init__(Endpoint("model", 22, "tester"), settings)
        self.traits = ServerTraits()
        self._server = server

    async def _connect(self, on_open: Callable[[SftpSession], object] = lambda _: None) -> Connection:
        session = SftpSession(self.settings.stall_timeout, on_open, lambda _: None)
        session.connection_made(_Channel(session, self._server))
        try:
            await session.ready()
        except Exception as error:
            from mlflow_sftp.wire.login import translate_error

            raise translate_error(error, self.name, 1) from error
        return Connection(_Ssh(), session, 0.0)  # type: ignore[arg-type]  # There is no SSH here.


def model_remote(server: ModelServer, **settings: Any) -> Remote:
    """The directory /root of a server, within a running loop."""
    return Remote(
        ModelConnections(server, Settings(**{"retry_timeout": 5.0, "stall_timeout": 2.0, **settings})),
        "/root",
    )


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing but what other threads do: the clock jumps instead."""

    jumped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(10 if timeout is None else 0)
        if not events and timeout is None:
            raise RuntimeError("everybody waits and there is nothing to wait for")
        if not events and timeout:
            self.jumped += timeout
        return events


def run_quickly(work: Coroutine[Any, Any, T], seconds: float = 600.0) -> T:
    """Run on a loop whose clock jumps; TimeoutError after so many of its seconds, RuntimeError where all wait."""
    selector = _JumpingSelector()

    class Loop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() + selector.jumped

        def run_in_executor(self, _: Any, work: Callable[..., Any], *arguments: Any) -> Any:
            # At once: the clock would not wait for a thread.
            done = self.create_future()
            try:
                done.set_result(work(*arguments))
            except Exception as error:
                done.set_exception(error)
            return done

    with asyncio.Runner(loop_factory=lambda: Loop(selector)) as runner:
        return runner.run(asyncio.wait_for(work, seconds))
