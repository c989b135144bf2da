"""A switch, killed (-9) at every step, with what it had started: finished or undone, nothing is between the stores.

Some ten minutes, so it only runs when asked for: pytest -m sweep tests/e2e.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.ansible import COLLECTION, REPOSITORY, Outcome, run_module
from tests.support.lab import Lab
from tests.support.stack import SWITCH, Stack, fails, filled_stack, passes

pytestmark = [pytest.mark.lab, pytest.mark.sweep, pytest.mark.timeout(1800)]

SFTP = "sftp://freegee@tajo.host.ch:13241/agent.freegee.ch/artifacts"
STEPS = [
    "Prepare the cutover",
    "Close MLflow",
    "Copy files that were written since the first copy",
    "Back up the database",
    "Change the locations",
    "Compare the changed locations with the plan",
    "Try the next server",
    "Install the next files",
    "Open MLflow",
    "Verify new and old runs from every service",
]
BACK = ["Restore the old locations", "Restore the stack's files from before", "Open MLflow"]


class Planned:
    """A switch that is planned and copied, of which every test gets a fresh copy."""

    def __init__(self, stack: Stack, kept: Path) -> None:
        self.stack = stack
        self._kept = kept
        jobs = ("run", "--detach", "--rm", "train", "sleep", "600")
        job = stack.lab.compose(*jobs).strip()
        refused = fails(stack.lab.play(SWITCH, artifact_storage="sftp"))
        assert "Jobs are running and would lose their work" in refused
        subprocess.run(["docker", "rm", "-f", job], check=True, capture_output=True)
        self.directory = next(path.parent for path in stack.lab.stack.glob("switches/*/switch.json"))
        # With its owners: the containers' user reads the key.
        subprocess.run(["cp", "-a", self.directory, kept], check=True)

    def again(self) -> None:
        """Have the switch as it was planned."""
        shutil.rmtree(self.directory)
        subprocess.run(["cp", "-a", self._kept, self.directory], check=True)

    def options(self, state: str) -> dict[str, object]:
        record = json.loads((self.directory / "switch.json").read_text())
        return {"directory": str(self.stack.lab.stack), "record": record, "state": state}

    def stop(self, step: str, state: str, act: Callable[[int], None] | None = None) -> None:
        """Begin; in a step call `act` with the engine's process id, or kill the engine with all that it started."""
        (self.directory / "step").unlink(missing_ok=True)
        module = f"ansible_collections.{COLLECTION}.plugins.modules.mlflow_storage_switch"
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / ".ansible/collections")}
        with subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": self.options(state)}).encode())
            process.stdin.close()
            while process.poll() is None and self.step() != step:
                time.sleep(0.002)
            assert self.step() == step
            if act is not None:
                act(process.pid)
            else:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def step(self) -> str:
        with suppress(FileNotFoundError):
            return (self.directory / "step").read_text().strip()
        return ""

    def state(self) -> str:
        return str(json.loads((self.directory / "switch.json").read_text())["state"])

    def go_on(self, state: str) -> Outcome:
        return run_module("mlflow_storage_switch", self.options(state))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    lab = Lab("mlflow-kills", tmp_path_factory.mktemp("kills") / "lab", 13241)
    with filled_stack(lab, files=50, mebibytes=8) as filled:
        yield filled


@pytest.fixture(scope="module")
def planned(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Planned:
    return Planned(stack, tmp_path_factory.mktemp("planned") / "switch")


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_undone(planned: Planned, step: str) -> None:
    planned.again()
    planned.stop(step, "done")
    # What was killed before MLflow was closed has only left containers, which the next run replaces.
    done = planned.go_on("undone" if step != "Prepare the cutover" else "done")
    assert not done.failed, done.output
    if step == "Prepare the cutover":
        passes(planned.stack.lab.play(SWITCH, undo=True))
    require_all_at(planned.stack, "/mlruns")


@pytest.mark.parametrize("step", BACK)
def test_killed_on_the_way_back(planned: Planned, step: str) -> None:
    planned.again()
    planned.stop("Open MLflow", "done")
    planned.stop(step, "undone")
    done = planned.go_on("undone")
    assert not done.failed, done.output
    require_all_at(planned.stack, "/mlruns")


def test_the_candidate_is_killed(planned: Planned) -> None:
    candidate = ["docker", "kill", f"{planned.stack.lab.name}-candidate"]
    planned.again()
    planned.stop("Close MLflow", "done", lambda _: subprocess.run(candidate, check=True, capture_output=True))
    require_all_at(planned.stack, "/mlruns")


@pytest.mark.parametrize("step", STEPS[1:])
def test_the_docker_client_is_killed(planned: Planned, step: str) -> None:
    def kill(engine: int) -> None:
        subprocess.run(["pkill", "-KILL", "-P", str(engine), "-x", "docker"], check=False)

    planned.again()
    planned.stop(step, "done", kill)
    # Where none ran at that moment, or its answer was there already, the switch went on.
    if planned.state() == "done":
        passes(planned.stack.lab.play(SWITCH, undo=True))
    require_all_at(planned.stack, "/mlruns")


@pytest.mark.skipif(
    "MLFLOW_KILL_DOCKER" not in os.environ, reason="MLFLOW_KILL_DOCKER=1: all of this machine's"
)
@pytest.mark.parametrize("step", STEPS[1:])
def test_docker_itself_is_killed(planned: Planned, step: str) -> None:
    planned.again()
    planned.stop(step, "done", lambda _: subprocess.run(["pkill", "-KILL", "-x", "dockerd"], check=True))
    wait_for_docker()
    # Unlike the stack, the lab's server is not started again with Docker.
    sftp = f"{planned.stack.lab.name}-sftp"
    subprocess.run(["docker", "start", sftp], check=True, capture_output=True)
    state = planned.state()
    if state not in ("done", "undone"):
        done = planned.go_on("undone")
        assert not done.failed, done.output
    if state == "done":
        passes(planned.stack.lab.play(SWITCH, undo=True))
    require_all_at(planned.stack, "/mlruns")


@pytest.mark.parametrize("step", [*STEPS[1:3], *STEPS[7:9]])
def test_killed_and_finished(planned: Planned, step: str) -> None:
    planned.again()
    planned.stop(step, "done")
    done = planned.go_on("done")
    assert not done.failed, done.output
    require_all_at(planned.stack, SFTP)
    passes(planned.stack.lab.play(SWITCH, undo=True))
    require_all_at(planned.stack, "/mlruns")


def wait_for_docker(seconds: int = 60) -> None:
    """Whoever supervises the daemon starts it again, and the daemon what is to run always."""
    deadline = time.monotonic() + seconds
    while subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, "nobody has started Docker again"
        time.sleep(0.2)


def require_all_at(stack: Stack, store: str) -> None:
    other = SFTP if store == "/mlruns" else "/mlruns"
    assert stack.answers()
    assert stack.stored() == (store, store)
    assert stack.read() == stack.content
    assert [found for found in stack.locations(other) if found["kind"] == "location"] == []
    names = subprocess.run(
        ["docker", "ps", "-a", "--format={{.Names}}"], check=True, capture_output=True, text=True
    )
    beside = {f"{stack.lab.name}-{name}" for name in ("candidate", "storage", "maintenance", "train-storage")}
    assert beside.isdisjoint(names.stdout.split())
