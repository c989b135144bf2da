"""A swarm that serves the stack of a directory of which this host has nothing: another host's, or it was lost."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import run_module

# Of a manager, which lists services by both of their labels; and of a host that is none.
MANAGER = """
case "$1 $2" in
    "info "*) echo /var/lib/docker ;;
    "service ls") case "$*" in *owner=$STACK\\ *project=mlflow*) echo mlflow_mlflow; echo mlflow_gateway ;; esac ;;
    "container ls") ;;
    *) echo '[]' ;;
esac
"""
NO_MANAGER = MANAGER.replace("case", "[ $1 != service ] || exit 1\ncase", 1)
OTHER = MANAGER.replace("owner=$STACK", "owner=/opt/other")


@pytest.mark.parametrize(
    ("client", "given", "entry", "told"),
    [
        (MANAGER, {}, "", True),
        (MANAGER, {}, ".secrets", False),
        (MANAGER, {"known_services": False}, "", False),
        (OTHER, {}, "", False),
        (NO_MANAGER, {}, "", False),
    ],
)
def test_services_of_which_the_host_has_nothing_are_another_hosts(
    client: str, given: dict[str, Any], entry: str, told: bool, tmp_path: Path
) -> None:
    program, stack = tmp_path / "bin/docker", tmp_path / "stack"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{client}")
    program.chmod(0o755)
    (stack / entry).mkdir(parents=True)
    options = {
        "directory": str(stack),
        "project": "mlflow",
        "entries": [".secrets"],
        "seal": ".secrets",
        "variables": {"project": "mlflow_stack_project", "directory": "mlflow_stack_dir"},
        "served_by": "swarm",
        "swarm_managers": ["one"],
        "engine_expected": False,
        "known_services": True,
        **given,
    }
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", "STACK": str(stack)}
    done = run_module("mlflow_stack_info", options, environment=environment)
    assert not done.failed, done.output
    findings = done.result["findings"]
    assert len(findings) == told
    assert "has nothing of it there: another host is its home" in "".join(findings) or not told
