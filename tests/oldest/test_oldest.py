"""The oldest supported Python and ansible-core run the same unit tests and understand the same playbooks."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv-oldest" / "bin"
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}


def run(*command: str) -> str:
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


# They read the sources, or wait, whatever Python runs them.
SAME_EVERYWHERE = [
    "tests/unit/docs",
    "tests/unit/mlflow_sftp/test_rooms.py",
    "tests/unit/plugins/test_imports.py",
    "tests/unit/plugins/_sftp/test_diagnosis.py::test_greeting[MaxStartups]",
    "tests/unit/plugins/_sftp/test_greet.py::test_client_gives_up_in_time",
]


def test_unit_tests() -> None:
    others = [f"--deselect={name}" for name in SAME_EVERYWHERE]
    said = run(str(BIN / "pytest"), "-q", "-p", "no:cacheprovider", *others, "tests/unit")
    assert " passed" in said
    assert " deselected" in said


def test_syntax() -> None:
    """The playbooks themselves; those of the lab are checked with the collection's tarball, too."""
    playbooks = sorted(str(path) for path in ROOT.glob("playbooks/*.yml"))
    check = (str(BIN / "ansible-playbook"), "--syntax-check", "-i")
    run(*check, "inventories/tajo", "site.yml", *playbooks)
    run(*check, "inventories/lab", "site.yml")
