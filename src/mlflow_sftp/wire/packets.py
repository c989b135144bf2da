# SPDX-License-Identifier: Apache-2.0
"""Packets of SFTP version 3: their numbers, and how fields are encoded and answers decoded.

Names are those of the draft (draft-ietf-secsh-filexfer-02) without SSH_: FXP for packet types, FX for statuses.

Nothing a server says is taken as it comes: each `decode_` function holds one kind of answer to what it was the answer
to, and raises BadAnswerError where that does not fit. What an answer leaves out is None, never 0.
"""

import stat
import struct
import unicodedata
from typing import NamedTuple

from mlflow_sftp.wire.statuses import standard_code

VERSION = 3
FX_OK, FX_EOF, FX_NO_SUCH_FILE, FX_PERMISSION_DENIED, FX_FAILURE = 0, 1, 2, 3, 4
FX_BAD_MESSAGE, FX_OP_UNSUPPORTED = 5, 8
# How a file is opened (SSH_FXF_...).
READ, WRITE, CREATE, TRUNCATE, EXCLUSIVE = 0x01, 0x02, 0x08, 0x10, 0x20

FXP_INIT, FXP_VERSION = 1, 2
FXP_OPEN, FXP_CLOSE, FXP_READ, FXP_WRITE, FXP_LSTAT, FXP_FSTAT = 3, 4, 5, 6, 7, 8
FXP_OPENDIR, FXP_READDIR, FXP_REMOVE, FXP_MKDIR, FXP_RMDIR = 11, 12, 13, 14, 15
FXP_REALPATH, FXP_STAT, FXP_RENAME, FXP_READLINK = 16, 17, 18, 19
FXP_STATUS, FXP_HANDLE, FXP_DATA, FXP_NAME, FXP_ATTRS = 101, 102, 103, 104, 105
FXP_EXTENDED, FXP_EXTENDED_REPLY = 200, 201

_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_EXTENSIONS = 0x1, 0x2, 0x4, 0x8, 0x80000000
_TYPE_BITS = 0o170000
NO_ATTRIBUTES = b"\0\0\0\0"

HEADER = struct.Struct(">IBI")
U32 = struct.Struct(">I")
U64 = struct.Struct(">Q")
LIMITS = struct.Struct(">QQQQ")
# statvfs@openssh.com: block size, fragment size, then fragments: all, free, free to this user, ...
_STATVFS = struct.Struct(">11Q")
# What the draft allows for a handle; what file systems (765 bytes) and object stores (1024) allow for a name.
_LONGEST_HANDLE, _LONGEST_NAME = 256, 1024
# What POSIX systems allow for a path.
LONGEST_PATH = 4096
_LONGEST_STATUS_TEXT = 400
# The least that an entry of a directory takes: two empty strings and no attributes.
_LEAST_ENTRY = 12
# A size that no file has: some servers say -1 where they do not know.
_NO_SIZE = 1 << 63


class StatusError(Exception):
    """The server answered a request with an error status; `code` is what that means in version 3."""

    def __init__(self, code: int, message: str) -> None:
        self.code = standard_code(code, message)
        self.message = message
        super().__init__(f"{message} (SFTP status {code})")


class BadAnswerError(StatusError):
    """The server answered a request with something that cannot be the answer to it."""

    def __init__(self, seen: str) -> None:
        super().__init__(FX_BAD_MESSAGE, seen)
        self.args = (seen,)

    def __str__(self) -> str:
        return self.message


class SessionLostError(Exception):
    """The session ended before the answer came; `args[0]` says why.

    `defective`: because of something that is not SFTP, which would come again if it were asked for again and again.
    """

    def __init__(self, reason: str, defective: bool = False) -> None:
        super().__init__(reason)
        self.defective = defective


class Attributes(NamedTuple):
    """What the server tells about a file; None where it does not tell, of a mode also where it has no type in it."""

    size: int | None = None
    mode: int | None = None
    mtime: int | None = None

    @property
    def is_directory(self) -> bool:
        return self.mode is not None and stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return self.mode is not None and stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return self.mode is None or stat.S_ISREG(self.mode)

    @property
    def is_complete(self) -> bool:
        """Whether the type is known, and the size of what is no directory."""
        return self.mode is not None and (stat.S_ISDIR(self.mode) or self.size is not None)


class Name(NamedTuple):
    """One entry of a directory; attributes are those of a link, not of its target."""

    name: bytes
    attributes: Attributes


class PacketReader:
    """Takes typed fields off the front of one packet; struct.error or ValueError where it is too short for them."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes | bytearray, position: int = 0) -> None:
        self._data = data
        self._position = position

    def u32(self) -> int:
        (value,) = U32.unpack_from(self._data, self._position)
        self._position += 4
        return int(value)

    def u64(self) -> int:
        (value,) = U64.unpack_from(self._data, self._position)
        self._position += 8
        return int(value)

    def string(self) -> bytes:
        size = self.u32()
        start, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise ValueError("a string is longer than its packet")
        return bytes(self._data[start : self._position])

    def left(self) -> int:
        """Return how many bytes are not read yet."""
        return len(self._data) - self._position

    def attributes(self) -> Attributes:
        flags = self.u32()
        size = self.u64() if flags & _HAS_SIZE else None
        if size is not None and size >= _NO_SIZE:
            size = None
        if flags & _HAS_OWNER:
            self._position += 8
        mode = self.u32() if flags & _HAS_MODE else None
        if mode is not None and not mode & _TYPE_BITS:
            mode = None
        mtime = None
        if flags & _HAS_TIMES:
            self._position += 4
            mtime = self.u32()
        if flags & _HAS_EXTENSIONS:
            for _ in range(self.u32()):
                self.string()
                self.string()
        if self._position > len(self._data):
            raise ValueError("attributes are longer than their packet")
        return Attributes(size, mode, mtime)

    def require_end(self) -> None:
        """ValueError where something follows what was read."""
        if self.left():
            raise ValueError(f"{self.left()} bytes follow the end of the answer")


def encode_string(value: bytes) -> bytes:
    """Return a string field: its length, then its bytes."""
    return U32.pack(len(value)) + value


def is_usable_name(name: bytes) -> bool:
    """Tell whether an entry of a directory can have this name."""
    return (
        0 < len(name) <= _LONGEST_NAME
        and b"/" not in name
        and b"\0" not in name
        and name not in (b".", b"..")
    )


def decode_nothing(packet: bytes) -> None:
    """The answer to what is answered by a status only."""


def decode_body(packet: bytes) -> bytes:
    """Return an answer without type and number."""
    return packet[5:]


def decode_handle(packet: bytes) -> bytes:
    reader = PacketReader(packet, 5)
    handle = reader.string()
    reader.require_end()
    if not 0 < len(handle) <= _LONGEST_HANDLE:
        raise ValueError(f"a handle of {len(handle)} bytes")
    return handle


def decode_data(size: int, packet: bytes) -> bytes:
    """Return what was read, at most the `size` bytes asked for; of an empty packet, which stands for the end, b""."""
    if not packet:
        return b""
    data = packet[9:]
    (announced,) = U32.unpack_from(packet, 5)
    if announced != len(data):
        raise ValueError(f"{announced} bytes are announced and {len(data)} are there")
    if not 0 < announced <= size:
        raise ValueError(f"{announced} bytes where {size} were asked for")
    return data


def decode_attributes(packet: bytes) -> Attributes:
    reader = PacketReader(packet, 5)
    attributes = reader.attributes()
    reader.require_end()
    return attributes


def decode_names(packet: bytes) -> list[Name] | None:
    """Return the entries of an answer, by whatever names the server gives them; None for the end of a directory."""
    if not packet:
        return None
    reader = PacketReader(packet, 5)
    count = reader.u32()
    if count * _LEAST_ENTRY > reader.left():
        raise ValueError(f"{count} names in {reader.left()} bytes")
    names = []
    for _ in range(count):
        name = reader.string()
        reader.string()
        names.append(Name(name, reader.attributes()))
    reader.require_end()
    return names


def decode_path(packet: bytes) -> bytes:
    """Return the one path that answers REALPATH or READLINK."""
    names = decode_names(packet)
    if not names or len(names) != 1:
        raise ValueError(f"{len(names or ())} names where one was due")
    path = names[0].name
    if not 0 < len(path) <= LONGEST_PATH or b"\0" in path:
        raise ValueError(f"a path of {len(path)} bytes, or with a zero byte in it")
    return path


class Space(NamedTuple):
    """Of a file system, in bytes: what is free to this user, and what there is in all."""

    free: int
    total: int


def decode_space(packet: bytes) -> Space | None:
    """Return the space of a file system; None where the answer is cut short or of a file system of no size."""
    if len(packet) < 5 + _STATVFS.size:
        return None
    _, fragment, fragments, _, available, *_ = _STATVFS.unpack_from(packet, 5)
    return Space(fragment * available, fragment * fragments) if fragment * fragments else None


def decode_status_text(packet: bytes) -> str:
    """Return the server's words in a status, on one line of a bounded length."""
    reader = PacketReader(packet, 9)
    text = reader.string().decode("utf-8", "replace") if reader.left() >= U32.size else ""
    return clean_text(text) or "no reason given"


def clean_text(text: str) -> str:
    """Return a peer's words without what a terminal or a log could take for more than words."""
    words = "".join(
        each if unicodedata.category(each)[0] != "C" else " " for each in text[:_LONGEST_STATUS_TEXT]
    )
    return " ".join(words.split())
