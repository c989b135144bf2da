"""An SFTP server that answers as a test says, in place of a channel of paramiko."""

import struct
import threading
from collections.abc import Callable
from typing import Any

STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 101, 102, 103, 104, 105, 201

# Gets the type and the fields of a request; returns the type and the fields of its answer, or nothing at all.
Answer = Callable[[int, bytes], tuple[int, bytes] | None]


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def status(code: int, text: str = "") -> tuple[int, bytes]:
    return STATUS, struct.pack(">I", code) + string(text.encode()) + string(b"")


class ScriptedChannel:
    """What `SftpClient` needs of a channel.

    Attributes:
        requests: The types of what was asked, in order.
        extra: Packets to send before the next answer, without their length.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._coming = bytearray()
        self.requests: list[int] = []
        self.extra: list[bytes] = []
        self.exit_status = -1
        self.status_event = threading.Event()
        self.status_event.set()

    def sendall(self, packet: bytes) -> None:
        kind, number, fields = packet[4], packet[5:9], packet[9:]
        if kind == 1:
            self._say(b"\2" + struct.pack(">I", 3))
            return
        self.requests.append(kind)
        answer = self._answer(kind, fields)
        for each in self.extra:
            self._say(each)
        self.extra.clear()
        if answer is not None:
            self._say(bytes([answer[0]]) + number + answer[1])

    def _say(self, packet: bytes) -> None:
        self._coming += string(packet)

    def say_raw(self, data: bytes) -> None:
        """Send bytes that need not be a packet."""
        self._coming += data

    def recv(self, size: int) -> bytes:
        if not self._coming:
            raise TimeoutError
        data = bytes(self._coming[:size])
        del self._coming[:size]
        return data

    def settimeout(self, seconds: float) -> None: ...

    def recv_stderr_ready(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a channel's {name} is not expected to be used")
