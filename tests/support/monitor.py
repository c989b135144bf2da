"""A monitor that runs as a program, the metrics that it shows, and a webhook that it tells."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.support.ansible import REPOSITORY
from tests.support.server import SftpServer, free_port

Labels = dict[str, str]

# Where the collection is, as its program is beside a deployed stack.
PROGRAM = REPOSITORY / ".ansible/collections"


def eventually(found: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {answer}"
        time.sleep(0.05)
    return answer


class Webhook:
    """Takes what is posted; answers with `status`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        self.refused = 0
        taker = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if taker.status == 200:
                    taker.bodies.append({**body, "arrived": time.monotonic()})
                    taker.paths.append(self.path)
                else:
                    taker.refused += 1
                self.send_response(taker.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}/hook/s3cret-token"

    def changes(self, subject: str = "") -> list[dict[str, Any]]:
        """All that was told, or what was told of a subject."""
        told = [change for body in list(self.bodies) for change in body["changes"]]
        return [change for change in told if subject in ("", change["subject"])]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def samples(text: str) -> list[tuple[str, Labels, float]]:
    """Name, labels and value of each sample of a page of metrics."""
    families = text_string_to_metric_families(text)
    return [(each.name, each.labels, each.value) for family in families for each in family.samples]


class RunningMonitor:
    """`mlflow-sftp monitor` on an account, looking again and again without a pause that counts."""

    def __init__(self, directory: Path, *options: str, webhook: Webhook | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.state = directory / "state/told.json"
        self.status = directory / "status"
        self.status.mkdir(exist_ok=True)
        self.alerts = directory / "alerts.json"
        if webhook is not None:
            self.alerts.write_text(json.dumps({"url": webhook.url}))
        self._log = directory / "log"
        self._command = [
            *(sys.executable, "-m", "mlflow_sftp", "monitor", f"--listen=127.0.0.1:{self.port}"),
            *(f"--check-program={PROGRAM}", f"--state={self.state}", f"--alerts={self.alerts}"),
            *(f"--status={self.status}", "--interval=0.3", "--patience=0.5", *options),
        ]

    @staticmethod
    def account(server: SftpServer, path: Path | str = "") -> list[str]:
        """Options for a directory of the account of a server."""
        return [f"--store={server.uri(path)}", f"--ssh-config={server.ssh_config}"]

    def __enter__(self) -> Self:
        # MLflow tells programs that a process starts which server it has: whatever an earlier test has used.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        eventually(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            assert self._process.wait(20) == 0, self.log()
        finally:
            self._process.kill()

    def log(self) -> str:
        return self._log.read_text()

    def page(self) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())

    def values(self, name: str, **labels: str) -> list[tuple[Labels, float]]:
        """The samples of a name with these labels."""
        return [
            (found, value)
            for each, found, value in samples(self.page())
            if each == name and labels.items() <= found.items()
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The only such sample; None for none."""
        found = self.values(name, **labels)
        assert len(found) < 2, found
        return found[0][1] if found else None

    def causes(self, check: str) -> set[str]:
        """The causes that a check shows now."""
        return set(self.failed(check).values())

    def failed(self, check: str) -> dict[str, str]:
        """The stages of a check that failed when it was made last, and why."""
        shown = self.values("mlflow_stack_stage_cause", check=check)
        return {labels["stage"]: labels["cause"] for labels, _ in shown}

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log()
        try:
            return bool(self.page())
        except OSError:
            return False
