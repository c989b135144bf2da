"""An SFTP server with a defect, in front of the real one: `PROGRAM data|names|case|form|statvfs-... COMMAND...`.

data: the last byte of every block read is another one. names: files called hello appear as hullo in listings.
statvfs@openssh.com is announced, and answered by an error (statvfs-unsupported, statvfs-failure), by a packet that
ends too soon (statvfs-short), or by zeros (statvfs-zero). Names that differ in case are one, and keep the case that
they were made with (case); names are kept as decomposed Unicode, however they are asked for (form, as on macOS).
That something is not there is told by a later version's status (missing-10), by one that may mean anything (missing-4,
missing-3), or by a failure with words (missing-words).
"""

import functools
import os
import struct
import subprocess
import sys
import threading
import unicodedata
from typing import BinaryIO

# Requests that begin with paths, and with how many.
_PATHS = {3: 1, 7: 1, 11: 1, 13: 1, 14: 1, 15: 1, 16: 1, 17: 1, 18: 2, 19: 1}
_EXTENDED, _POSIX_RENAME = 200, b"posix-rename@openssh.com"
_DATA = 103
_NAMES = 104
_EXTENDED_REPLY = 201
_STATVFS_SIZE = 93
_STATUS, _NO_SUCH_FILE = 101, 2
_MISSING = {
    "missing-10": (10, b"no such path"),
    "missing-4": (4, b"failure"),
    "missing-3": (3, b"denied"),
    "missing-words": (4, b"The system cannot find the file specified"),
}
_STATUSES = {"statvfs-failure": 4, "statvfs-unsupported": 8}


def forward_requests(source: int, target: int) -> None:
    """Copy what the client says."""
    while block := os.read(source, 65536):
        os.write(target, block)
    os.close(target)


def forward_folded(defect: str, source: BinaryIO, target: BinaryIO, answered: threading.Semaphore) -> None:
    """Copy what the client says, with each path as the server has it once all before it is done."""
    while header := source.read(4):
        packet = source.read(struct.unpack(">I", header)[0])
        start, paths = 5, _PATHS.get(packet[0], 0)
        if packet[0] == _EXTENDED and packet[9:].startswith(_POSIX_RENAME):
            start, paths = 9 + len(_POSIX_RENAME), 2
        parts = [packet[:start]]
        for _ in range(paths):
            (size,) = struct.unpack_from(">I", packet, start)
            path = fold(defect, packet[start + 4 : start + 4 + size])
            parts.append(struct.pack(">I", len(path)) + path)
            start += 4 + size
        packet = b"".join(parts) + packet[start:]
        target.write(struct.pack(">I", len(packet)) + packet)
        target.flush()
        answered.acquire()
    target.close()


def fold(defect: str, path: bytes) -> bytes:
    """Return a path as it is spelled on the disk, as far as it is there."""
    found = b"/" if path.startswith(b"/") else b""
    for name in path.strip(b"/").split(b"/"):
        there = os.listdir(found) if os.path.isdir(found) else []
        key = fold_name(defect, name)
        same = [each for each in there if each == name] or [
            each for each in there if fold_name(defect, each) == key
        ]
        found = os.path.join(found, same[0] if same else key if defect == "form" else name)
    return found


def fold_name(defect: str, name: bytes) -> bytes:
    """Return what is the same for all spellings of a name."""
    text = os.fsdecode(name)
    return os.fsencode(text.casefold() if defect == "case" else unicodedata.normalize("NFD", text))


def spoil_statvfs(defect: str, packet: bytearray) -> bytearray:
    """Return what a server says instead of what is free."""
    if defect in _STATUSES:
        return bytearray([101]) + packet[1:5] + struct.pack(">II2sI", _STATUSES[defect], 2, b"no", 0)
    if defect == "statvfs-short":
        return packet[:25]
    return packet[:5] + bytes(len(packet) - 5)


def spoil_missing(defect: str, packet: bytearray) -> bytearray:
    """Return another status where there is no such file."""
    if packet[0] != _STATUS or struct.unpack(">I", packet[5:9])[0] != _NO_SUCH_FILE:
        return packet
    code, words = _MISSING[defect]
    return packet[:5] + struct.pack(">II", code, len(words)) + words + struct.pack(">I", 0)


def main() -> None:
    """Run the real server and change what it answers."""
    defect, *command = sys.argv[1:]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    answered = threading.Semaphore(0)
    if defect in ("case", "form"):
        work = functools.partial(forward_folded, defect, sys.stdin.buffer, server.stdin, answered)
    else:
        work = functools.partial(forward_requests, sys.stdin.fileno(), server.stdin.fileno())
    threading.Thread(target=work, daemon=True).start()
    while header := server.stdout.read(4):
        packet = bytearray(server.stdout.read(struct.unpack(">I", header)[0]))
        if defect in _MISSING:
            packet = spoil_missing(defect, packet)
        if defect == "data" and packet[0] == _DATA:
            packet[-1] ^= 1
        if defect == "names" and packet[0] == _NAMES:
            packet = packet.replace(b"hello", b"hullo")
        if defect.startswith("statvfs") and packet[0] == _EXTENDED_REPLY and len(packet) == _STATVFS_SIZE:
            packet = spoil_statvfs(defect, packet)
        sys.stdout.buffer.write(struct.pack(">I", len(packet)) + packet)
        sys.stdout.buffer.flush()
        answered.release()


if __name__ == "__main__":
    main()
