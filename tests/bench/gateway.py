#!/usr/bin/env python3
"""What the gateway costs: through it against direct. What clients lose meanwhile, front_load.py tells.

    tests/bench/gateway.py                      1 GiB
    tests/bench/gateway.py --mebibytes 100

Deploys a lab of its own with a gateway and proxied access to local storage, and some runs to be found. Both ways are
measured in one run, in turn, three times; the best of each counts. Needs Docker, as bin/test leaves it.
"""

import argparse
import http.client
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.support.docker import docker  # noqa: E402  # found only after the line above
from tests.support.front import connect, trusted  # noqa: E402  # likewise
from tests.support.lab import Lab  # noqa: E402  # likewise
from tests.support.stack import passes  # noqa: E402  # likewise

NAME = "mlflow.gate.example"
SEARCH = "/api/2.0/mlflow/runs/search"
RUNS = b'{"experiment_ids": ["0"], "max_results": 10}'
_PORT = 58350
_CREATE = "/api/2.0/mlflow/runs/create"
_ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/large"
_JSON = {"Content-Type": "application/json"}
_REPEATS = 3
# Runs that a search finds, of which it shows the first.
_MADE = 20
_CHUNK = 1 << 20

Reach = Callable[[], http.client.HTTPConnection]


def gateway_settings(port: int) -> dict[str, object]:
    """Return the settings of a lab with a gateway, whose HTTPS port is three above the lab's first."""
    return {
        "artifact_storage": "local",
        "mlflow_stack_access": "proxied",
        "mlflow_stack_workers": 2,
        "mlflow_gateway_hostname": NAME,
        "mlflow_gateway_bind": "127.0.0.1",
        "mlflow_gateway_https_port": port + 3,
        "mlflow_gateway_http_port": 0,
    }


def peak_memory(lab: Lab) -> float:
    """Return the most MiB that the processes of the gateway have held, each at its own time."""
    statuses = docker("exec", f"{lab.name}-gateway-1", "bash", "-c", "cat /proc/[0-9]*/status")
    return sum(int(line.split()[1]) for line in statuses.splitlines() if line.startswith("VmHWM:")) / 1024


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as work:
        lab = Lab("mlflow-gatebench", Path(work) / "lab", _PORT, gateway_settings(_PORT))
        with lab.cleared():
            passes(lab.play("site.yml", "--skip-tags", "verify"))
            large = Path(work) / "large"
            with large.open("wb") as file:
                for _ in range(arguments.mebibytes):
                    file.write(os.urandom(_CHUNK))
            _make_runs(lab)
            _compare(lab, large)


def _make_runs(lab: Lab) -> None:
    connection = _direct(lab)
    for _ in range(_MADE):
        connection.request("POST", _CREATE, b'{"experiment_id": "0"}', _JSON)
        _require(connection.getresponse())
    connection.close()


def _compare(lab: Lab, large: Path) -> None:
    ways: dict[str, Reach] = {"direct": lambda: _direct(lab), "gateway": lambda: _secured(lab)}
    best: dict[str, dict[str, float]] = {way: {} for way in ways}
    for _ in range(_REPEATS):
        for way, reach in ways.items():
            for name, value in _measure(reach, large).items():
                best[way][name] = max(best[way].get(name, value), value)
    for name, value in best["direct"].items():
        through = best["gateway"][name]
        print(f"{name:32} direct {value:9.2f}   gateway {through:9.2f}   {through / value:.2f}", flush=True)
    print(f"the gateway's processes, at most: {peak_memory(lab):.1f} MiB")


def _measure(reach: Reach, large: Path) -> dict[str, float]:
    mebibytes = large.stat().st_size / (1 << 20)
    connection = reach()
    began = time.monotonic()
    asked = 0
    while time.monotonic() - began < 5:
        connection.request("POST", SEARCH, RUNS, _JSON)
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


def _direct(lab: Lab) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", lab.port + 1, timeout=300)


def _secured(lab: Lab) -> http.client.HTTPConnection:
    return connect(NAME, lab.port + 3, trusted(lab), timeout=300)


def _require(answer: http.client.HTTPResponse) -> None:
    body = answer.read()
    assert answer.status == 200, (answer.status, body[:500])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
