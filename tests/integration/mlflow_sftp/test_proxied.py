"""Through `mlflow server --artifacts-destination sftp://...`: clients that know nothing of SFTP."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.mlflow_sftp.conftest import host_and_proftpd
from tests.support.mlflow_server import MlflowServer
from tests.support.server import SftpServer
from tests.support.storing import files_below, pattern


@pytest.fixture
def mlflow(mortal: SftpServer, tmp_path: Path) -> Iterator[MlflowServer]:
    """A real server whose only store is SFTP; its temporary directory is `tmp_path`/tmp."""
    (tmp_path / "tmp").mkdir()
    environment = {
        "MLFLOW_SFTP_SSH_CONFIG": str(mortal.ssh_config),
        "MLFLOW_SFTP_RETRY_TIMEOUT": "1",
        "TMPDIR": str(tmp_path / "tmp"),
    }
    flags = ["--artifacts-destination", mortal.uri("artifacts")]
    with MlflowServer(tmp_path / "mlflow", flags, environment) as running:
        yield running


@host_and_proftpd
def test_proxied_access(mlflow: MlflowServer, mortal: SftpServer, tmp_path: Path) -> None:
    base = f"{mlflow.uri}/api/2.0/mlflow-artifacts/artifacts"
    data = pattern(40_000_000)
    with _watching(lambda: mlflow.open_bytes(tmp_path / "tmp")) as staged:
        _call("PUT", f"{base}/1/run/artifacts/big.bin", data)
    assert files_below(mortal.root / "artifacts")["1/run/artifacts/big.bin"] == data
    assert len(staged) > 1
    assert max(staged) == 0
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


@contextmanager
def _watching(look: Callable[[], int]) -> Iterator[list[int]]:
    seen, ended = [look()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            seen.append(look())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def _call(method: str, url: str, data: bytes | None = None) -> int:
    """Make a request and return the length of the answer."""
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return len(answer.read())


def _body(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
    return body.replace(b"\n", b"").replace(b" ", b"")
