"""The linters, each as one test."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTERS = [
    "ruff check",
    "ruff format --check",
    "mypy src experiments",
    "mypy plugins/module_utils",
    "yamllint --strict .",
    "ansible-lint --strict",
    "reuse lint",
    "antsibull-changelog lint",
]


@pytest.mark.parametrize("command", LINTERS)
def test_lint(command: str) -> None:
    result = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
