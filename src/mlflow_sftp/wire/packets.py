# SPDX-License-Identifier: Apache-2.0
"""Packets of SFTP version 3: their numbers, and how fields are encoded and answers decoded.

Names are those of the draft (draft-ietf-secsh-filexfer-02) without SSH_: FXP for packet types, FX for statuses.
"""

import stat
import struct
from typing import NamedTuple

from mlflow_sftp.wire.statuses import standard_code

VERSION = 3
FX_OK, FX_EOF, FX_NO_SUCH_FILE, FX_PERMISSION_DENIED, FX_FAILURE = 0, 1, 2, 3, 4
FX_OP_UNSUPPORTED = 8
# How a file is opened (SSH_FXF_...).
READ, WRITE, CREATE, TRUNCATE, EXCLUSIVE = 0x01, 0x02, 0x08, 0x10, 0x20

FXP_INIT, FXP_VERSION = 1, 2
FXP_OPEN, FXP_CLOSE, FXP_READ, FXP_WRITE, FXP_LSTAT, FXP_FSTAT = 3, 4, 5, 6, 7, 8
FXP_OPENDIR, FXP_READDIR, FXP_REMOVE, FXP_MKDIR, FXP_RMDIR = 11, 12, 13, 14, 15
FXP_REALPATH, FXP_STAT, FXP_RENAME, FXP_READLINK = 16, 17, 18, 19
FXP_STATUS, FXP_HANDLE, FXP_DATA, FXP_NAME, FXP_ATTRS = 101, 102, 103, 104, 105
FXP_EXTENDED, FXP_EXTENDED_REPLY = 200, 201

_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_EXTENSIONS = 0x1, 0x2, 0x4, 0x8, 0x80000000
NO_ATTRIBUTES = b"\0\0\0\0"

HEADER = struct.Struct(">IBI")
U32 = struct.Struct(">I")
U64 = struct.Struct(">Q")
LIMITS = struct.Struct(">QQQQ")
# statvfs@openssh.com: block size, fragment size, then fragments: all, free, free to this user, ...
_STATVFS = struct.Struct(">11Q")


class StatusError(Exception):
    """The server answered a request with an error status; `code` is what that means in version 3."""

    def __init__(self, code: int, message: str) -> None:
        self.code = standard_code(code, message)
        self.message = message
        super().__init__(f"{message} (SFTP status {code})")


class SessionLostError(Exception):
    """The session ended before the answer came; `args[0]` says why."""


class Attributes(NamedTuple):
    """What the server tells about a file; None where it does not tell."""

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


class Name(NamedTuple):
    """One entry of a directory; attributes are those of a link, not of its target."""

    name: bytes
    attributes: Attributes


class PacketReader:
    """Takes typed fields off the front of one packet."""

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

    def at_end(self) -> bool:
        return self._position >= len(self._data)

    def attributes(self) -> Attributes:
        flags = self.u32()
        size = self.u64() if flags & _HAS_SIZE else None
        if flags & _HAS_OWNER:
            self._position += 8
        mode = self.u32() if flags & _HAS_MODE else None
        mtime = None
        if flags & _HAS_TIMES:
            self._position += 4
            mtime = self.u32()
        if flags & _HAS_EXTENSIONS:
            for _ in range(self.u32()):
                self.string()
                self.string()
        return Attributes(size, mode, mtime)


def encode_string(value: bytes) -> bytes:
    """Return a string field: its length, then its bytes."""
    return U32.pack(len(value)) + value


def decode_nothing(packet: bytes) -> None:
    """The answer to what is answered by a status only."""


def decode_body(packet: bytes) -> bytes:
    """Return an answer without type and number."""
    return packet[5:]


def decode_handle(packet: bytes) -> bytes:
    return PacketReader(packet, 5).string()


def decode_data(packet: bytes) -> bytes:
    """Return what was read; of an empty packet, which stands for the end of the file, nothing."""
    return packet[9:]


def decode_attributes(packet: bytes) -> Attributes:
    return PacketReader(packet, 5).attributes()


def decode_names(packet: bytes) -> list[Name]:
    """Return the entries of an answer; of an empty packet, which stands for the end of a directory, none."""
    if not packet:
        return []
    reader = PacketReader(packet, 5)
    names = []
    for _ in range(reader.u32()):
        name = reader.string()
        reader.string()
        names.append(Name(name, reader.attributes()))
    return names


def decode_first_name(packet: bytes) -> bytes:
    return decode_names(packet)[0].name


def decode_free_bytes(packet: bytes) -> int | None:
    """Return the bytes free to this user; None where the answer is cut short or of a file system of no size."""
    if len(packet) < 5 + _STATVFS.size:
        return None
    _, fragment, fragments, _, available, *_ = _STATVFS.unpack_from(packet, 5)
    return int(fragment * available) if fragment * fragments else None


def decode_status_text(packet: bytes) -> str:
    """Return the server's words in a status."""
    reader = PacketReader(packet, 9)
    text = "" if reader.at_end() else reader.string().decode("utf-8", "replace")
    return text or "no reason given"
