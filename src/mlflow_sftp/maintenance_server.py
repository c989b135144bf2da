# SPDX-License-Identifier: Apache-2.0
"""What answers in the MLflow server's place while its storage is being moved: 503 to everything.

`python -m mlflow_sftp.maintenance_server --port 5000`. MLflow's clients take 503 for a reason to try again, so that a
training that logs meanwhile waits instead of failing: 4 minutes with MLflow 3.17's own settings (7 retries, each
after twice the time). A Retry-After header replaces those times: of 5 seconds, it leaves 35 in all.
"""

import argparse
import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

_MESSAGE = (
    "The artifact storage is being moved; this takes a moment. The request was not carried out: try again."
)
# How long a client may go on sending what nobody wants, once it has been answered.
_LINGER_SECONDS = 5.0
_CHUNK = 1 << 16
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class MaintenanceServer(ThreadingHTTPServer):
    """Listens at once; `retry_after` is what clients are told to wait, in seconds, or None to leave it to them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, retry_after: int | None) -> None:
        super().__init__((host, port), _Handler)
        self.retry_after = retry_after

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are nothing to report."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: MaintenanceServer

    def refuse(self) -> None:
        """Answer before the body is read: it may be of any size."""
        body = json.dumps({"error_code": "TEMPORARILY_UNAVAILABLE", "message": _MESSAGE}).encode()
        self.send_response(HTTPStatus.SERVICE_UNAVAILABLE)
        if self.server.retry_after is not None:
            self.send_header("Retry-After", str(self.server.retry_after))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self._linger()

    def handle_expect_100(self) -> bool:
        """Do not invite a body: the answer follows at once."""
        return True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Say nothing: clients come again and again."""

    def _linger(self) -> None:
        """Discard what is still being sent: closing on unread bytes would take the answer from the client."""
        connection: socket.socket = self.connection
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(1.0)
        end = time.monotonic() + _LINGER_SECONDS
        try:
            while connection.recv(_CHUNK) and time.monotonic() < end:
                pass
        except OSError:
            return


for _method in _METHODS:
    setattr(_Handler, f"do_{_method}", _Handler.refuse)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or an interrupt, then end at once."""
    parser = argparse.ArgumentParser(prog="mlflow_sftp.maintenance_server", description=__doc__)
    parser.add_argument("--host", default="", help="address to listen on, by default every one")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--retry-after", type=int, help="seconds, for the header Retry-After")
    options = parser.parse_args(arguments)
    # As process 1 of a container, nothing ends this unless it says so itself.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    with MaintenanceServer(options.host, options.port, options.retry_after) as server:
        server.serve_forever()


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
