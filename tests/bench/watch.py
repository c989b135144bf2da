"""What benchmarks of cutovers share: a server watched from outside, its mere restart, many runs."""

import json
import threading
import time
from urllib.request import urlopen

from tests.support.lab import Lab
from tests.support.stack import passes

# In the server's container, past HTTP: a thousand runs a few seconds. Arguments: runs, and artifacts of each.
_FILL = """
import os, sys
from pathlib import Path
from mlflow import MlflowClient
client = MlflowClient(os.environ["MLFLOW_BACKEND_STORE_URI"])
for number in range(int(sys.argv[1])):
    directory = Path(client.create_run("0").info.artifact_uri)
    directory.mkdir(parents=True)
    for artifact in range(int(sys.argv[2])):
        (directory / f"artifact{artifact}.txt").write_text(str(number))
"""


class Watch:
    """Asks MLflow ten times a second; `longest` is the longest time between two good answers, in seconds."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
        self._ended = threading.Event()
        self.longest = 0.0

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(0.1):
            try:
                with urlopen(self._url, timeout=2):
                    now = time.monotonic()
            except OSError:
                continue
            self.longest = max(self.longest, now - last)
            last = now


def fill(lab: Lab, runs: int, artifacts: int = 1) -> None:
    """Log so many runs more, each with so many small artifacts."""
    lab.compose("exec", "-T", "mlflow", "python", "-", str(runs), str(artifacts), text=_FILL)


def restart(lab: Lab) -> float:
    """Stop and start the server, and return the seconds without an answer."""
    with Watch(lab.port + 1) as watch:
        lab.compose("stop", "mlflow")
        lab.compose("up", "--detach", "--wait", "mlflow")
    return watch.longest


def measure(lab: Lab, name: str, playbook: str, **variables: object) -> None:
    """Run the playbook of a cutover; print its seconds, those without an answer, and those of each step."""
    began = time.monotonic()
    with Watch(lab.port + 1) as watch:
        passes(lab.play(playbook, **variables))
    seconds = time.monotonic() - began
    print(f"{name:8} {seconds:5.1f} s; closed {watch.longest:5.1f} s; steps {steps(lab)}", flush=True)


def steps(lab: Lab) -> dict[str, float]:
    """Return how many seconds each step of the last cutover took."""
    found = [json.loads(path.read_text()) for path in sorted(lab.stack.glob("switches/*/*.json"))]
    return {step["name"]: step["seconds"] for step in found[-1]["steps"]}
