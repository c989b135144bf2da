#!/usr/bin/env python3
"""How long a storage switch closes MLflow, and how that grows with the number of runs.

    tests/bench/downtime.py                     100, 1,000 and 10,000 runs (about 15 minutes)
    tests/bench/downtime.py --runs 100 1000

Deploys a lab of its own with SQLite, fills it with runs of one small artifact each, and switches to SFTP and back
with playbooks/storage_switch.yml. Needs Docker, as bin/test leaves it. Prints the seconds between the stop of the
services and the first answer of the server.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.support.ansible import Outcome  # noqa: E402  # found only after the line above
from tests.support.lab import Lab  # noqa: E402  # likewise

# In the server's container, past HTTP: a thousand runs a few seconds.
_FILL = """
import os, sys
from pathlib import Path
from mlflow import MlflowClient
client = MlflowClient(os.environ["MLFLOW_BACKEND_STORE_URI"])
for number in range(int(sys.argv[1])):
    directory = Path(client.create_run("0").info.artifact_uri)
    directory.mkdir(parents=True)
    (directory / "artifact.txt").write_text(str(number))
"""


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as work:
        lab = Lab("mlflow-downtime", Path(work) / "lab", 13321)
        with lab.cleared():
            _require(lab.play("site.yml", "--skip-tags", "verify", artifact_storage="local"))
            there = 0
            for runs in sorted(arguments.runs):
                lab.compose("exec", "-T", "mlflow", "python", "-", str(runs - there), text=_FILL)
                there = runs
                up, down = _switch(lab, "sftp"), _switch(lab, "local")
                print(f"{runs:6} runs: closed for {up:5.1f} s to SFTP, {down:5.1f} s back", flush=True)


def _switch(lab: Lab, storage: str) -> float:
    output = _require(lab.play("playbooks/storage_switch.yml", artifact_storage=storage))
    closed = re.search(r"MLflow was closed for ([\d.]+) s", " ".join(output.split()))
    assert closed, output[-2000:]
    return float(closed[1])


def _require(outcome: Outcome) -> str:
    assert not outcome.failed, outcome.output[-5000:]
    return outcome.output


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000], help="how many runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
