"""Every molecule scenario, each as one test."""

import subprocess
from pathlib import Path

import pytest

from tests.support.docker import remove_leftovers

ROOT = Path(__file__).parents[2]
# Whole sites, of which tests/e2e proves the same.
_REPEATED = {"default", "proxied"}
SCENARIOS = [
    pytest.param(name, marks=pytest.mark.sweep if name in _REPEATED else ())
    for name in sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
]


@pytest.mark.docker
@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    remove_leftovers(f"molecule-{scenario}")
    result = subprocess.run(
        ["molecule", "test", "--scenario-name", scenario],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-20000:] + result.stderr[-10000:]
