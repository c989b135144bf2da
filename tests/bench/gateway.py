#!/usr/bin/env python3
"""What the gateway costs, and what clients lose while something is changed under them.

    tests/bench/gateway.py                      through the gateway against direct, then 200 clients for 5 minutes
    tests/bench/gateway.py --clients 50 --minutes 1 --mebibytes 100

Deploys a lab of its own with a gateway and proxied access to local storage. Both ways are measured in one run, in turn,
three times; the best of each counts. Then all clients ask at once, while the certificate is replaced and the
storage is switched. Needs Docker, as bin/test leaves it.
"""

import argparse
import http.client
import os
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.support.docker import docker  # noqa: E402  # found only after the line above
from tests.support.lab import Lab  # noqa: E402  # likewise
from tests.support.stack import SWITCH, passes  # noqa: E402  # likewise

_NAME = "mlflow.gate.example"
_PORT = 58350
_SEARCH = "/api/2.0/mlflow/runs/search"
_RUNS = b'{"experiment_ids": ["0"], "max_results": 10}'
_ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/large"
_JSON = {"Content-Type": "application/json"}
_REPEATS = 3
_CHUNK = 1 << 20

Connect = Callable[[], http.client.HTTPConnection]


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as work:
        settings = {
            "artifact_storage": "local",
            "mlflow_stack_access": "proxied",
            "mlflow_stack_workers": 2,
            "mlflow_gateway_hostname": _NAME,
            "mlflow_gateway_https_port": _PORT + 3,
            "mlflow_gateway_http_port": 0,
        }
        lab = Lab("mlflow-gatebench", Path(work) / "lab", _PORT, settings)
        with lab.cleared():
            passes(lab.play("site.yml", "--skip-tags", "verify"))
            large = Path(work) / "large"
            with large.open("wb") as file:
                for _ in range(arguments.mebibytes):
                    file.write(os.urandom(_CHUNK))
            _compare(lab, large)
            _crowd(lab, arguments.clients, arguments.minutes)


def _compare(lab: Lab, large: Path) -> None:
    ways: dict[str, Connect] = {"direct": lambda: _direct(lab), "gateway": lambda: _secured(lab)}
    best: dict[str, dict[str, float]] = {way: {} for way in ways}
    for _ in range(_REPEATS):
        for way, connect in ways.items():
            for name, value in _measure(connect, large).items():
                best[way][name] = max(best[way].get(name, value), value)
    for name, value in best["direct"].items():
        through = best["gateway"][name]
        print(f"{name:32} direct {value:9.2f}   gateway {through:9.2f}   {through / value:.2f}", flush=True)
    statuses = docker("exec", f"{lab.name}-gateway-1", "bash", "-c", "cat /proc/[0-9]*/status")
    peaks = [int(line.split()[1]) for line in statuses.splitlines() if line.startswith("VmHWM:")]
    print(f"the gateway's processes, at most: {sum(peaks) / 1024:.1f} MiB")


def _measure(connect: Connect, large: Path) -> dict[str, float]:
    mebibytes = large.stat().st_size / (1 << 20)
    connection = connect()
    began = time.monotonic()
    asked = 0
    while time.monotonic() - began < 5:
        connection.request("POST", _SEARCH, _RUNS, _JSON)
        _require(connection.getresponse())
        asked += 1
    searches = asked / (time.monotonic() - began)
    began = time.monotonic()
    with large.open("rb") as file:
        connection.request("PUT", _ARTIFACT, file, {"Content-Length": str(large.stat().st_size)})
        _require(connection.getresponse())
    upload = mebibytes / (time.monotonic() - began)
    began = time.monotonic()
    connection.request("GET", _ARTIFACT)
    answer = connection.getresponse()
    answer.read(1)
    first = time.monotonic() - began
    while answer.read(_CHUNK):
        pass
    download = mebibytes / (time.monotonic() - began)
    connection.close()
    return {
        "searches a second": searches,
        "upload MiB/s": upload,
        "download MiB/s": download,
        "1 / seconds to the first byte": 1 / first,
    }


def _crowd(lab: Lab, clients: int, minutes: float) -> None:
    """Ask from all clients; meanwhile replace the certificate, and switch the storage."""
    ended = threading.Event()
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        while not ended.wait(0.5):
            said = _outcome(lab)
            with lock:
                seen[said] += 1

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    for name in (f"{_NAME}.key", f"{_NAME}.crt"):
        (lab.directory / "gateway" / name).unlink()
    passes(lab.play("site.yml", "--skip-tags", "verify"))
    print(f"certificate replaced after {time.monotonic() - began:.0f} s: {dict(seen)}", flush=True)
    passes(lab.play(SWITCH, artifact_storage="sftp"))
    print(f"storage switched after {time.monotonic() - began:.0f} s: {dict(seen)}", flush=True)
    time.sleep(max(0.0, minutes * 60 - (time.monotonic() - began)))
    ended.set()
    for thread in threads:
        thread.join()
    print(f"{clients} clients, {time.monotonic() - began:.0f} s: {dict(seen)}")


def _outcome(lab: Lab) -> str:
    try:
        connection = _secured(lab)
        connection.request("POST", _SEARCH, _RUNS, _JSON)
        answer = connection.getresponse()
        answer.read()
        connection.close()
    except OSError as error:
        return type(error).__name__
    waiting = answer.getheader("Retry-After")
    return f"{answer.status}" + (f", Retry-After {waiting}" if waiting else "")


def _direct(lab: Lab) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", lab.port + 1, timeout=300)


def _secured(lab: Lab) -> http.client.HTTPConnection:
    context = ssl.create_default_context(cafile=str(lab.directory / "gateway" / "ca.crt"))
    plain = socket.create_connection(("127.0.0.1", lab.port + 3), timeout=300)
    # As http.client does where it connects itself; otherwise each body waits for the acknowledgement of its header.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = http.client.HTTPSConnection(_NAME, lab.port + 3)
    connection.sock = context.wrap_socket(plain, server_hostname=_NAME)
    return connection


def _require(answer: http.client.HTTPResponse) -> None:
    body = answer.read()
    assert answer.status == 200, (answer.status, body[:500])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the file")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
