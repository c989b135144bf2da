"""Three machines for whoever tries a swarm: they live, and nothing of them is left, however they end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import REPOSITORY

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes other machines out of namespaces"),
]

SWITCH = "mlflow-three"
NAMES = ["n1", "n2", "n3"]


@contextmanager
def started() -> Iterator[subprocess.Popen[str]]:
    arguments = ["--switch", SWITCH, "--network", "10.96.0", *NAMES]
    command = [sys.executable, "-m", "tests.support.machines", *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def inventory(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it prints, up to the brace that ends it."""
    assert process.stdout is not None
    lines = list(iter(process.stdout.readline, "}\n"))
    return dict(json.loads("".join([*lines, "}"])))


def traces() -> list[str]:
    """What of the machines is there: networks, cables, files, control groups and processes."""
    listed = "".join(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for command in (["ip", "netns", "list"], ["ip", "-oneline", "link"], ["ps", "-eo", "args"])
    )
    places = [*Path("/var/tmp").glob(f"{SWITCH}.*"), *Path("/sys/fs/cgroup").glob(f"**/{SWITCH}-n?")]
    ours = [line for line in listed.splitlines() if SWITCH in line and "tests.support.machines" not in line]
    return [*ours, *map(str, places)]


def test_they_are_asked_by_their_inventory_and_leave_no_trace(tmp_path: Path) -> None:
    assert traces() == []
    with started() as process:
        hosts = inventory(process)["all"]["hosts"]
        assert list(hosts) == NAMES
        file = tmp_path / "hosts.json"
        file.write_text(json.dumps({"all": {"hosts": hosts}}))
        ansible = ["ansible", "all", "-i", str(file), "-m", "ansible.builtin.command", "-a"]
        asked = subprocess.run([*ansible, "docker info"], capture_output=True, text=True, cwd=REPOSITORY)
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert all(f" Name: {name}\n" in asked.stdout for name in NAMES)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert traces() == []


def test_what_a_killed_run_has_left_goes_with_the_next() -> None:
    with started() as process:
        inventory(process)
        process.kill()
    assert traces()
    with started() as process:
        assert list(inventory(process)["all"]["hosts"]) == NAMES
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert traces() == []
