"""An SFTP server that works on requests otherwise than OpenSSH does, see `HOW` below: `PROGRAM HOW COMMAND...`.

plain: as OpenSSH does.
second-open-truncates, second-open-refused: a file that is opened for writing and not created.
second-open-forgets: its first 4 kB are zeros then, as after a restart of the machine; the size stays.
in-order: WRITE is refused but at the end of what the same handle wrote.
one-by-one: so is WRITE while another is under way.
close-first: as in-order; a file is not there for FSTAT, STAT and RENAME until CLOSE is answered.
fstat-zero, fstat-missing: FSTAT of a file says 0 bytes, or that there is no such file.
fsync-refused, fsync-fails: fsync@openssh.com is announced, and refused as unsupported, or for a full disk.
slow-close=SECONDS: so long takes each CLOSE.
open-files=NUMBER: more files and directories than that are not opened at once in one session.
exclusive-ignored: creating a file that must not exist empties it.
"""

import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

_OPEN, _CLOSE, _WRITE, _FSTAT, _OPENDIR, _STAT, _RENAME = 3, 4, 6, 8, 11, 17, 18
_STATUS, _HANDLE, _ATTRS, _EXTENDED = 101, 102, 105, 200
_WRITING, _CREATE, _TRUNCATE, _EXCLUSIVE = 0x02, 0x08, 0x10, 0x20
_NO_SUCH_FILE, _FAILURE, _UNSUPPORTED = 2, 4, 8

# Type and body of a packet.
Answer = tuple[int, bytes]


def string(body: bytes, at: int = 0) -> tuple[bytes, int]:
    """Return a string field and where the next one begins."""
    (size,) = struct.unpack_from(">I", body, at)
    return body[at + 4 : at + 4 + size], at + 4 + size


def status(code: int, text: bytes = b"no") -> Answer:
    """Return an error."""
    return _STATUS, struct.pack(">II", code, len(text)) + text + bytes(4)


class Requests:
    """What becomes of the requests of one session."""

    def __init__(self, how: str) -> None:
        self.how, _, self.value = how.partition("=")
        self.lock = threading.Lock()
        # Of what is open: bytes written in order, and the path; of requests that are not answered: what they are.
        self.ends: dict[bytes, int] = {}
        self.paths: dict[bytes, bytes] = {}
        self.asked: dict[bytes, tuple[int, bytes]] = {}
        self.open = 0

    def change(self, kind: int, body: bytes) -> Answer | None:
        """Return an answer to give at once; None where the real server is asked."""
        if self.how == "slow-close" and kind == _CLOSE:
            time.sleep(float(self.value))
        # It works on requests one after the other: what comes after CLOSE finds the place free.
        self.open -= kind == _CLOSE
        if self.how == "open-files" and kind in (_OPEN, _OPENDIR):
            if self.open >= int(self.value):
                return status(_FAILURE, b"too many open files")
            self.open += 1
        if self.how.startswith("fstat-") and kind == _FSTAT:
            missing = self.how == "fstat-missing"
            return status(_NO_SUCH_FILE) if missing else (_ATTRS, struct.pack(">IQ", 1, 0))
        if self.how.startswith("fsync-") and kind == _EXTENDED and string(body)[0] == b"fsync@openssh.com":
            refused = self.how == "fsync-refused"
            return status(_UNSUPPORTED) if refused else status(_FAILURE, b"No space left on device")
        if self.how in ("in-order", "one-by-one", "close-first") and kind == _WRITE:
            return self.write_in_order(body)
        if self.how == "close-first":
            return self.hide(kind, body)
        return None

    def write_in_order(self, body: bytes) -> Answer | None:
        handle, at = string(body)
        offset, size = struct.unpack_from(">QI", body, at)
        with self.lock:
            under_way = any(
                kind == _WRITE and string(asked)[0] == handle for kind, asked in self.asked.values()
            )
            if offset != self.ends.get(handle, 0) or (self.how == "one-by-one" and under_way):
                return status(_FAILURE, b"random writes are not supported")
            self.ends[handle] = offset + size
        return None

    def hide(self, kind: int, body: bytes) -> Answer | None:
        with self.lock:
            being_written = {self.paths[handle] for handle in self.ends if handle in self.paths}
        if kind == _FSTAT and string(body)[0] in self.ends:
            return status(_NO_SUCH_FILE)
        if kind == _STAT and string(body)[0] in being_written:
            return status(_NO_SUCH_FILE)
        renamed = string(body)[0]
        if kind == _EXTENDED and renamed == b"posix-rename@openssh.com":
            renamed = string(body, string(body)[1])[0]
        return status(_FAILURE) if kind in (_RENAME, _EXTENDED) and renamed in being_written else None

    def flags(self, path: bytes, flags: int) -> int | None:
        """Return the flags to open a file with instead; None to refuse it."""
        if flags & _CREATE and self.how == "exclusive-ignored" and flags & _EXCLUSIVE:
            return flags & ~_EXCLUSIVE | _TRUNCATE
        if not flags & _WRITING or flags & _CREATE:
            return flags
        if self.how in ("second-open-refused", "in-order", "one-by-one", "close-first"):
            return None
        if self.how == "second-open-truncates":
            return flags | _CREATE | _TRUNCATE
        if self.how == "second-open-forgets":
            with open(path, "r+b") as file:
                file.write(bytes(4096))
        return flags

    def answered(self, number: bytes, packet: bytes) -> None:
        """Keep in mind what the real server did."""
        if self.how == "one-by-one" and self.asked.get(number, (0, b""))[0] == _WRITE:
            time.sleep(0.03)  # Whether the next one comes too early must not depend on the load.
        with self.lock:
            kind, body = self.asked.pop(number, (0, b""))
            if kind == _CLOSE:
                self.ends.pop(string(body)[0], None)
                self.paths.pop(string(body)[0], None)
            if kind in (_OPEN, _OPENDIR) and packet[0] == _HANDLE:
                handle = string(packet, 5)[0]
                self.paths[handle] = string(body)[0]
                if kind == _OPEN and struct.unpack_from(">I", body, string(body)[1])[0] & _WRITING:
                    self.ends[handle] = 0
            elif kind in (_OPEN, _OPENDIR):
                self.open -= 1


def forward_requests(requests: Requests, target: int, answer: Callable[[bytes], None]) -> None:
    """Pass on what the client says, or answer it at once."""
    source = sys.stdin.buffer
    while header := source.read(4):
        packet = source.read(struct.unpack(">I", header)[0])
        kind, number, body = packet[0], packet[1:5], packet[5:]
        reply = requests.change(kind, body) if kind > 2 else None
        if reply is None and kind == _OPEN:
            path, at = string(body)
            flags = requests.flags(path, struct.unpack_from(">I", body, at)[0])
            if flags is None:
                reply = status(_UNSUPPORTED, b"resume is not supported")
            else:
                body = body[:at] + struct.pack(">I", flags) + body[at + 4 :]
        if reply is not None:
            answer(bytes([reply[0]]) + number + reply[1])
            continue
        if kind > 2:
            with requests.lock:
                requests.asked[number] = (kind, body)
            packet = packet[:5] + body
        write_all(target, struct.pack(">I", len(packet)) + packet)
    os.close(target)


def write_all(target: int, data: bytes) -> None:
    """Write everything."""
    while data:
        data = data[os.write(target, data) :]


def main() -> None:
    """Run the real server, change what it is asked and what it answers."""
    how, *command = sys.argv[1:]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    requests = Requests(how)
    output = threading.Lock()

    def answer(packet: bytes) -> None:
        with output:
            sys.stdout.buffer.write(struct.pack(">I", len(packet)) + packet)
            sys.stdout.buffer.flush()

    arguments = (requests, server.stdin.fileno(), answer)
    threading.Thread(target=forward_requests, args=arguments, daemon=True).start()
    while header := server.stdout.read(4):
        packet = server.stdout.read(struct.unpack(">I", header)[0])
        requests.answered(packet[1:5], packet)
        answer(packet)


if __name__ == "__main__":
    main()
