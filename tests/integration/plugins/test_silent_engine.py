"""An engine that does not answer: nothing is known of what it holds, which is not to say that it holds nothing."""

import os
from pathlib import Path

import pytest

from tests.support.ansible import run_module

# What `docker info --format` does without an engine: from 23.0 to 28.0 it prints an empty line and exits with 0.
CLIENTS = {
    "20.10": "echo 'Cannot connect to the Docker daemon' >&2; exit 1",
    "26.1": "case $1 in info) echo 'Cannot connect to the Docker daemon' >&2; echo;; *) exit 1;; esac",
}


@pytest.mark.parametrize("version", CLIENTS)
def test_a_silent_engine_is_told_from_one_that_holds_nothing(version: str, tmp_path: Path) -> None:
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    client.write_text(f"#!/bin/sh\n{CLIENTS[version]}\n")
    client.chmod(0o755)
    options = {
        "directory": str(tmp_path / "stack"),
        "project": "mlflow",
        "entries": ["compose.yml"],
        "seal": "compose.yml",
        "variables": {"project": "mlflow_stack_project", "directory": "mlflow_stack_dir"},
    }
    environment = {"PATH": f"{client.parent}:{os.environ['PATH']}"}
    told = run_module("mlflow_stack_info", options, environment=environment)
    assert told.result["engine"] == "silent", told.output
    (finding,) = told.result["findings"]
    assert "does not answer" in finding
