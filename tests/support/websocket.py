"""A websocket through a gateway, as a browser opens it, and what comes over it."""

import base64
import os
import socket
import ssl
from contextlib import suppress
from http.client import HTTPSConnection
from typing import Any, Self

_TEXT, _BINARY, _PING = 1, 2, 9


class WebSocket:
    """Asks for a websocket; `status` is 101 where it has opened, `protocol` what was agreed on."""

    def __init__(
        self,
        connection: HTTPSConnection,
        path: str,
        protocols: tuple[str, ...] = (),
        **headers: str,
    ) -> None:
        self._connection = connection
        asked = {
            "Host": f"{connection.host}:{connection.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": ", ".join(protocols),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        text = "".join(f"{name}: {value}\r\n" for name, value in asked.items() if value)
        self._socket: Any = self._connection.sock
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n{text}\r\n".encode())
        self._read = self._socket.makefile("rb")
        self.status = int(self._read.readline().split()[1])
        said = dict(self._headers())
        self.protocol = said.get("sec-websocket-protocol", "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ssl.SSLError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def send(self, text: str) -> None:
        """Send a short text."""
        content, mask = text.encode(), os.urandom(4)
        assert len(content) < 126
        masked = bytes(each ^ mask[place % 4] for place, each in enumerate(content))
        self._socket.sendall(bytes([0x80 | _TEXT, 0x80 | len(content)]) + mask + masked)

    def receive(self) -> bytes:
        """Return what comes next; the other end's questions whether somebody is there are left alone."""
        while True:
            kind, content = self._frame()
            if kind in (_TEXT, _BINARY):
                return content
            assert kind == _PING, (kind, content)

    def _frame(self) -> tuple[int, bytes]:
        first, length = self._exactly(2)
        assert first & 0x80, "something in several frames"
        if length in (126, 127):
            length = int.from_bytes(self._exactly(2 if length == 126 else 8), "big")
        return first & 0x0F, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        content: bytes = self._read.read(length)
        assert len(content) == length, "the websocket has ended"
        return content

    def _headers(self) -> list[tuple[str, str]]:
        lines = iter(lambda: self._read.readline().decode().strip(), "")
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
