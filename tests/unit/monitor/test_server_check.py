"""A server is asked as MLflow's clients would be: with the login of the environment, or of MLflow's file."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mlflow_sftp.monitor.server_check import check_server

FILE = "[mlflow]\nmlflow_tracking_username = service-monitor\nmlflow_tracking_password = 50%%:off\n"


class Server(HTTPServer):
    """Answers with 200 to whoever comes, and remembers the logins; None where there was none."""

    def __init__(self) -> None:
        self.logins: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        _, _, given = self.headers.get("Authorization", "").partition("Basic ")
        self.server.logins.append(base64.b64decode(given).decode() if given else None)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("environment", "file", "login"),
    [
        ({}, "", None),
        ({}, FILE, "service-monitor:50%:off"),
        ({"MLFLOW_TRACKING_USERNAME": "a", "MLFLOW_TRACKING_PASSWORD": "b"}, "", "a:b"),
        ({"MLFLOW_TRACKING_USERNAME": "a", "MLFLOW_TRACKING_PASSWORD": "b"}, FILE, "a:b"),
    ],
)
def test_login(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    file: str,
    login: str | None,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if file:
        (tmp_path / ".mlflow").mkdir()
        (tmp_path / ".mlflow/credentials").write_text(file)
    stages = check_server(f"http://127.0.0.1:{server.server_port}")
    assert [stage["status"] for stage in stages] == ["ok", "ok"]
    assert server.logins == [login, login]
