"""Greetings of a server that has too many clients for a moment."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import SocketAddress, greet

_BUSY = b"Exceeded MaxStartups\r\n"
_GREETING = b"SSH-2.0-OpenSSH_10.0\r\n"


@contextlib.contextmanager
def saying(*words: bytes) -> Iterator[SocketAddress]:
    """A server that says one of these to each client in turn, the last to all that follow, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            turn = 0
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                # The client may be gone by then.
                with contextlib.suppress(OSError):
                    client.sendall(words[min(turn, len(words) - 1)])
                    client.shutdown(socket.SHUT_WR)
                turn += 1

        threading.Thread(target=serve, daemon=True).start()
        yield (socket.AF_INET, listener.getsockname())
        listener.shutdown(socket.SHUT_RDWR)


def test_client_that_was_turned_away_comes_again() -> None:
    with saying(_BUSY, _BUSY, _GREETING) as address:
        sock, greeting = greet([address], 10)
        sock.close()
    assert greeting == _GREETING.decode().strip()


def test_client_gives_up_in_time() -> None:
    with saying(_BUSY) as address, pytest.raises(DiagnosedError) as raised:
        greet([address], 2)
    assert raised.value.cause.code == "too_many_connections"


def test_client_that_is_penalised_stays_away() -> None:
    with (
        saying(b"Not allowed at this time\r\n", _GREETING) as address,
        pytest.raises(DiagnosedError) as raised,
    ):
        greet([address], 10)
    assert raised.value.cause.code == "client_penalised"
