"""What the playbook tests share."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def play() -> Play:
    """Run ``ansible-playbook`` on the lab's inventory with extra variables."""

    def run(playbook: str, *options: str, **variables: object) -> subprocess.CompletedProcess[str]:
        extra = [f"--extra-vars={{{key!r}: {value!r}}}" for key, value in variables.items()]
        return subprocess.run(
            ["ansible-playbook", playbook, *options, *extra],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
