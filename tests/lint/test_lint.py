"""The linters, each as one test."""

import subprocess
from pathlib import Path

import pytest
import yaml

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
    "antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=dependent --skip-rstcheck .",
    "pre-commit validate-config",
]


@pytest.mark.parametrize("command", LINTERS)
def test_lint(command: str) -> None:
    result = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_hooks_before_a_commit_are_among_them() -> None:
    """No hook comes from elsewhere, or finds fault with what the tests let pass."""
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    programs = {hook["entry"].split()[0] for hook in local["hooks"]}
    assert local["repo"] == "local"
    assert programs <= {f".venv/bin/{command.split()[0]}" for command in LINTERS}
