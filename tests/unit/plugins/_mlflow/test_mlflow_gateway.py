"""What a gateway shows and answers, asked of a server with TLS, and what is made of that."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.gateway import Seen, ask, stage_of

from tests.unit.plugins._inputs.test_gateway import KEY, NAME, NOW, OTHER, certificate, pem

# Of the certificates that are made there, counted from NOW.
TODAY = (datetime.now(UTC) - NOW).days
VALID = certificate(days=(TODAY - 2, TODAY + 90))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert self.headers["Host"].startswith(f"{NAME}:")
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        pass


@contextmanager
def serving(directory: Path, text: str, key: str, status: int = 200) -> Iterator[int]:
    (directory / "pair.pem").write_text(text + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "pair.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.status = status  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 401, 503])
def test_answer(tmp_path: Path, status: int) -> None:
    with serving(tmp_path, VALID, pem(KEY), status) as port:
        seen = ask(NAME, "0.0.0.0", port, VALID + certificate(()))
    assert (seen.status, seen.protocol, seen.error, seen.refused) == (status, "TLSv1.3", "", "")
    assert seen.days is not None
    assert 88 < seen.days < 91
    assert seen.life is not None
    assert seen.life == 92


@pytest.mark.parametrize(
    ("shown", "key", "words"),
    [
        (certificate(days=(TODAY - 2, TODAY + 90), key=OTHER), OTHER, "certificate"),
        (certificate(days=(TODAY - 9, TODAY - 2)), KEY, "expired"),
        (certificate(("other.example",), days=(TODAY - 2, TODAY + 90)), KEY, "Hostname mismatch"),
    ],
)
def test_certificate_that_is_not_taken(tmp_path: Path, shown: str, key: object, words: str) -> None:
    installed = VALID if key is OTHER else shown
    with serving(tmp_path, shown, pem(key)) as port:
        seen = ask(NAME, "127.0.0.1", port, installed)
    assert words in seen.refused
    assert (seen.status, seen.days) == (0, None)


def test_nobody_there() -> None:
    seen = ask(NAME, "127.0.0.1", 1, VALID)
    assert "refused" in seen.error
    assert seen.status == 0


@pytest.mark.parametrize(
    ("seen", "status", "cause", "words"),
    [
        (Seen(0.1, 200, "TLSv1.3", 60.2), "ok", None, "answered 200, TLSv1.3, certificate valid for 60 days"),
        (Seen(0.1, 401, "TLSv1.3", 60.2), "ok", None, "answered 401"),
        (Seen(0.1, 200, "TLSv1.3", 19.9), "warning", "gateway_certificate_expiring", "for 20 days"),
        # Of 47 and of 6 days, the next is ordered in the last 16 and 2.
        (Seen(0.1, 200, "TLSv1.3", 12.0, 47.0), "ok", None, "for 12 days"),
        (Seen(0.1, 200, "TLSv1.3", 11.7, 47.0), "warning", "gateway_certificate_expiring", "for 12 days"),
        (Seen(0.1, 200, "TLSv1.3", 1.6, 6.0), "ok", None, "for 2 days"),
        (Seen(0.1, 200, "TLSv1.3", 1.4, 6.0), "warning", "gateway_certificate_expiring", "for 1 days"),
        (Seen(0.1, 200, "TLSv1.3", 19.9, 397.0), "warning", "gateway_certificate_expiring", "for 20 days"),
        (Seen(0.1, 503, "TLSv1.3", 5.0), "failed", "gateway_closed", "answered 503"),
        (Seen(0.1, 403, "TLSv1.3", 60.0), "failed", "gateway_closed", "answered 403"),
        (Seen(0.1, refused="expired"), "failed", "gateway_certificate", "a:1: expired"),
        (Seen(0.1, error="no route"), "failed", "gateway_unreachable", "a:1: no route"),
    ],
)
def test_stage(seen: Seen, status: str, cause: str | None, words: str) -> None:
    stage = stage_of(seen, NAME, "a:1", 20)
    assert (stage["status"], stage["cause"]) == (status, cause)
    assert words in stage["detail"]
    assert "{" not in stage.get("remedy", "")
