"""What MLflow's clients and others meet while the storage is being moved."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import requests
from mlflow import MlflowClient

from tests.support.mlflow_server import MlflowServer
from tests.support.server import free_port
from tests.support.storing import wait_until


@contextmanager
def maintenance(
    port: int, *arguments: str, stderr: BinaryIO | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "mlflow_sftp.maintenance_server", "--port", str(port), *arguments]
    with subprocess.Popen(command, stderr=stderr) as process:
        try:
            wait_until(lambda: answers(port))
            yield process
        finally:
            process.kill()


def answers(port: int) -> bool:
    try:
        return bool(requests.get(f"http://127.0.0.1:{port}/health", timeout=5).content)
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_everything_is_answered_in_the_shape_of_mlflows_errors(method: str) -> None:
    port = free_port()
    with maintenance(port):
        answer = requests.request(method, f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/create", json={})
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert "storage is being moved" in answer.json()["message"]
    assert "Retry-After" not in answer.headers


def test_the_time_to_wait_is_told_on_demand() -> None:
    port = free_port()
    with maintenance(port, "--retry-after", "7"):
        answer = requests.head(f"http://127.0.0.1:{port}/")
    assert (answer.status_code, answer.headers["Retry-After"], answer.content) == (503, "7", b"")


@pytest.mark.parametrize("expect", [{}, {"Expect": "100-continue"}])
def test_an_upload_gets_its_answer_however_large_it_is(expect: dict[str, str]) -> None:
    port = free_port()
    with maintenance(port) as process:
        answer = requests.put(f"http://127.0.0.1:{port}/x", data=bytes(200 << 20), headers=expect)
        assert resident_bytes(process.pid) < 100 << 20
    assert answer.status_code == 503


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_clients_that_hang_up_leave_no_trace(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as stream, maintenance(port, stderr=stream):
        for sent in (b"", b"POST / HT", b"POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\nx"):
            with socket.create_connection(("127.0.0.1", port)) as client:
                # Reset, not closed, as when a client is killed.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(sent)
        time.sleep(0.5)
        assert answers(port)
    assert log.read_text() == ""


def test_it_ends_at_once_with_clients_connected() -> None:
    port = free_port()
    with maintenance(port) as process, ThreadPoolExecutor() as pool:
        slow = pool.submit(requests.put, f"http://127.0.0.1:{port}/", data=trickle())
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(2) == 0
        slow.exception()


def trickle() -> Iterator[bytes]:
    for _ in range(20):
        time.sleep(0.1)
        yield b"x"


@pytest.mark.full
def test_what_clients_begin_meanwhile_succeeds_once_the_server_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with MLflow's own 2, but then a client sleeps for half a minute before it looks again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    artifacts = ["--serve-artifacts", "--artifacts-destination", str(tmp_path / "artifacts")]
    server = MlflowServer(tmp_path / "server", artifacts)
    port = int(server.uri.rpartition(":")[2])
    (tmp_path / "large").write_bytes(os.urandom(20 << 20))
    with server, ThreadPoolExecutor() as pool:
        client = MlflowClient(server.uri)
        run = client.create_run(client.create_experiment("e")).info.run_id
        server.stop()
        with maintenance(port) as process:
            logging = pool.submit(client.log_metric, run, "loss", 0.5)
            uploading = pool.submit(client.log_artifact, run, str(tmp_path / "large"))
            time.sleep(3)
            assert not logging.done()
            assert not uploading.done()
            process.send_signal(signal.SIGTERM)
            process.wait(2)
        server.start()
        logging.result(60)
        uploading.result(60)
        assert client.get_run(run).data.metrics == {"loss": 0.5}
        (tmp_path / "back").mkdir()
        copy = client.download_artifacts(run, "large", str(tmp_path / "back"))
        assert Path(copy).read_bytes() == (tmp_path / "large").read_bytes()
