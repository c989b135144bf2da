#!/usr/bin/env python3
"""How long a storage switch closes MLflow, against a mere restart of the same stack, and what a client loses meanwhile.

    tests/bench/downtime.py                     100, 1,000 and 10,000 runs
    tests/bench/downtime.py --runs 100 --backend postgresql
    tests/bench/downtime.py --runs 1000 --artifacts 100      100,000 files

Deploys a lab of its own, fills it with runs of small artifacts, and switches to SFTP and back with
playbooks/storage_switch.yml. MLflow is asked ten times a second from outside; a client in a container of its own logs
a run with an artifact every second. Needs Docker, as bin/test leaves it. Prints, for each switch, the tasks and the
seconds of the playbook, the seconds from the last good answer to the next, the same for stop and start of the server,
their ratio, the client's runs: logged, failed, and not to be read afterwards, and the seconds of each step.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.bench.watch import Watch, fill, restart, steps  # noqa: E402  # found only after the line above
from tests.support.ansible import Outcome  # noqa: E402  # likewise
from tests.support.lab import Lab  # noqa: E402  # likewise

# Every second a run with an artifact, until the file is there; then all are read.
_CLIENT = """
import json, pathlib, tempfile, time
from mlflow import MlflowClient, artifacts
client, logged, failed = MlflowClient(), [], []
while not pathlib.Path("/tmp/enough").exists():
    began = time.monotonic()
    try:
        run = client.create_run("0").info.run_id
        client.log_text(run, run, "logged.txt")
        client.set_terminated(run)
        logged.append(run)
    except Exception as error:
        failed.append(f"{type(error).__name__}: {error}"[:300])
    time.sleep(max(0, 1 - (time.monotonic() - began)))
lost = [run for run in logged if artifacts.load_text(f"runs:/{run}/logged.txt") != run]
print(json.dumps({"logged": len(logged), "failed": failed, "lost": lost}))
"""


class Client:
    """Logs runs from a container on the stack's network that is none of its services."""

    def __init__(self, lab: Lab) -> None:
        self._name = f"{lab.name}-client"
        image = json.loads(lab.compose("config", "--format", "json"))["services"]["notebook"]["image"]
        stack = lab.stack
        command = ["docker", "run", "--rm", "--name", self._name, f"--network={lab.name}"]
        command += ["-v", f"{stack}/mlflow:/etc/mlflow_sftp:ro"]
        command += ["-v", f"{stack}/.secrets/mlflow_sftp_key:/run/secrets/mlflow_sftp_key:ro"]
        command += ["-v", f"{lab.name}_artifacts:/mlruns", "-e", "MLFLOW_TRACKING_URI=http://mlflow:5000"]
        command += ["--label", f"freegee.mlflow_sftp.owner={stack}", image, "python", "-c", _CLIENT]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def end(self) -> str:
        subprocess.run(["docker", "exec", self._name, "touch", "/tmp/enough"], check=True)
        output, _ = self._process.communicate()
        found = json.loads(output.splitlines()[-1])
        return f"client: {found['logged']} logged, failed {found['failed']}, lost {found['lost']}"


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as work:
        settings = {"mlflow_stack_backend_store": arguments.backend, "mlflow_stack_workers": 2}
        lab = Lab("mlflow-downtime", Path(work) / "lab", 13321, settings)
        with lab.cleared():
            _require(lab.play("site.yml", "--skip-tags", "verify", artifact_storage="local"))
            there = 0
            for runs in sorted(arguments.runs):
                fill(lab, runs - there, arguments.artifacts)
                there = runs
                for storage in ("sftp", "local"):
                    _measure(lab, runs, storage, client=arguments.client)


def _measure(lab: Lab, runs: int, storage: str, *, client: bool) -> None:
    restarted = restart(lab)
    logging = Client(lab) if client else None
    began = time.monotonic()
    with Watch(lab.port + 1) as watch:
        output = _require(lab.play("playbooks/storage_switch.yml", artifact_storage=storage))
    seconds = time.monotonic() - began
    tasks = output.count("TASK [")
    print(
        f"{runs:6} runs to {storage:5}: {tasks} tasks, {seconds:5.1f} s; closed {watch.longest:5.1f} s, restart "
        f"{restarted:5.1f} s, {watch.longest / restarted:.2f} times; steps {steps(lab)} "
        f"{logging.end() if logging else ''}",
        flush=True,
    )


def _require(outcome: Outcome) -> str:
    assert not outcome.failed, outcome.output[-5000:]
    return outcome.output


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--artifacts", type=int, default=1, help="of each run")
    parser.add_argument("--backend", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--client", action="store_true", help="log runs meanwhile")
    return parser.parse_args()


if __name__ == "__main__":
    main()
