"""Through `mlflow server --artifacts-destination sftp://...`: clients that know nothing of SFTP."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.mlflow_sftp.conftest import host_and_proftpd
from tests.support.server import SftpServer, free_port
from tests.support.sshd import end_process_tree
from tests.support.storing import files_below, pattern

_STARTS_WITHIN = 120


@pytest.fixture
def base(mortal: SftpServer, tmp_path: Path) -> Iterator[str]:
    """The artifact API of a real server whose only store is SFTP; its temporary directory is `tmp_path`/tmp."""
    port = free_port()
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {
        "MLFLOW_SFTP_SSH_CONFIG": str(mortal.ssh_config),
        "MLFLOW_SFTP_RETRY_TIMEOUT": "1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "TMPDIR": str(tmp_path / "tmp"),
    }
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    command += ["--artifacts-destination", mortal.uri("artifacts")]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health", tmp_path / "server.log")
        yield f"{address}/api/2.0/mlflow-artifacts/artifacts"
    finally:
        end_process_tree(server, signal.SIGKILL)


@host_and_proftpd
def test_proxied_access(base: str, mortal: SftpServer, tmp_path: Path) -> None:
    data = pattern(40_000_000)
    staged = _call("PUT", f"{base}/1/run/artifacts/big.bin", data, watch=tmp_path / "tmp")
    assert files_below(mortal.root / "artifacts")["1/run/artifacts/big.bin"] == data
    assert staged == 0
    assert _call("GET", f"{base}/1/run/artifacts/big.bin") == len(data)
    assert b'"big.bin"' in _body(f"{base}?path=1/run/artifacts")
    assert _body(f"{base}?path=1/nothing") == b"{}"
    with pytest.raises(urllib.error.HTTPError) as missing:
        _call("GET", f"{base}/1/run/artifacts/none.bin")
    assert missing.value.code == 404
    mortal.stop()
    for method, path in (
        ("GET", "?path=1/run/artifacts"),
        ("GET", "/1/run/artifacts/big.bin"),
        ("PUT", "/1/f"),
    ):
        with pytest.raises(urllib.error.HTTPError) as outage:
            _call(method, base + path, b"x" if method == "PUT" else None)
        assert outage.value.code == 503, path
    mortal.start()
    _call("DELETE", f"{base}/1/run/artifacts/big.bin")
    assert _body(f"{base}?path=1/run/artifacts") == b"{}"


def _call(method: str, url: str, data: bytes | None = None, watch: Path | None = None) -> int:
    """Make a request; return the length of the answer, or the bytes staged in `watch` while it ran."""
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        length = len(answer.read())
    return (
        length if watch is None else sum(path.stat().st_size for path in watch.rglob("*") if path.is_file())
    )


def _body(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
    return body.replace(b"\n", b"").replace(b" ", b"")


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
