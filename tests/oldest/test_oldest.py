"""The oldest supported Python and ansible-core run the same unit tests and understand the same playbooks."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv-oldest" / "bin"
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}


def run(*command: str) -> str:
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_unit_tests() -> None:
    assert " passed" in run(str(BIN / "pytest"), "-q", "-p", "no:cacheprovider", "tests/unit")


@pytest.mark.parametrize("inventory", ["lab", "tajo"])
def test_syntax(inventory: str) -> None:
    playbooks = sorted(str(path) for path in ROOT.glob("playbooks/*.yml"))
    run(
        str(BIN / "ansible-playbook"),
        "-i",
        f"inventories/{inventory}",
        "--syntax-check",
        "site.yml",
        *playbooks,
    )
