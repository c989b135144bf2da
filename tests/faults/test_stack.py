"""Faults of the deployed stack, named by playbooks/verify.yml."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import assert_no_secret
from tests.support.docker import base_image, unused_name
from tests.support.lab import Lab
from tests.support.server import free_port, keygen

pytestmark = pytest.mark.docker

# Nothing of MLflow is needed to see whether a service can be entered, is up to date and has the right key.
# That the check of the account breaks for want of a library must not end the verification.
_COMPOSE = """
# Of the collection freegee.mlflow_sftp.
services:
  notebook:
    image: {image}
    init: true
    network_mode: none
    environment: {{GREETING: "${{GREETING}}"}}
    volumes:
      - ./mlflow:/etc/mlflow_sftp:ro
      - ./.secrets/mlflow_sftp_key:/run/secrets/mlflow_sftp_key:ro
    command:
      - sh
      - -c
      - mkdir -p /opt/venv/bin && ln -s /usr/bin/python3 /opt/venv/bin/python && exec sleep infinity
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A stack of one service, which runs."""
    lab = Lab(unused_name(), tmp_path, free_port())
    (lab.stack / "mlflow").mkdir(parents=True)
    (lab.stack / "mlflow/ssh_config").touch()
    (lab.stack / "compose.yml").write_text(f"name: {lab.name}\n" + _COMPOSE.format(image=base_image()))
    (lab.stack / ".env").write_text("GREETING=hello\n")
    new_key(lab)
    try:
        lab.compose("up", "--detach")
        yield lab
    finally:
        lab.compose("down", "--timeout", "0")


def new_key(lab: Lab) -> None:
    """Make the directory of the key, with a new one in it."""
    directory = lab.stack / ".secrets/mlflow_sftp_key"
    directory.mkdir(parents=True)
    keygen(directory / "id_ed25519", "ed25519")


def problems(lab: Lab, *services: str, level: str = "quick") -> dict[str, Any]:
    """Run the verification and return the problems by code."""
    outcome = lab.play("playbooks/verify.yml", "-vvv", verify_level=level, mlflow_stack_services=services)
    assert_no_secret(outcome)
    # Nobody plays the SFTP server here.
    assert outcome.failed
    report = lab.directory / "report/report.json"
    assert report.exists(), outcome.output
    return {problem["code"]: problem for problem in json.loads(report.read_text())["problems"]}


def test_stack_as_it_should_be(lab: Lab) -> None:
    found = problems(lab, "notebook")
    assert not {"container_key_outdated", "stack_outdated", "vantage_unreachable"} & found.keys()


@pytest.mark.parametrize("kept", [False, True], ids=["removed", "moved away"])
def test_key_directory_was_replaced(lab: Lab, kept: bool) -> None:
    directory = lab.stack / ".secrets/mlflow_sftp_key"
    if kept:
        directory.rename(lab.directory / "old")
    else:
        shutil.rmtree(directory)
    new_key(lab)
    found = problems(lab, "notebook")
    assert "container_key_outdated" in found, found
    problem = found["container_key_outdated"]
    assert problem["where"] == ["notebook"]
    assert "--force-recreate" in problem["remedy"]
    assert "/run/secrets/mlflow_sftp_key/id_ed25519" in problem["seen"][0]["detail"]
    lab.compose("up", "--detach", "--force-recreate", "--timeout", "0")
    assert "container_key_outdated" not in problems(lab, "notebook")


def test_environment_changed(lab: Lab) -> None:
    (lab.stack / ".env").write_text("GREETING=good evening\n")
    found = problems(lab, "notebook")
    assert f"{lab.name}-notebook-1" in found["stack_outdated"]["seen"][0]["detail"]
    assert "docker compose up -d" in found["stack_outdated"]["remedy"]


@pytest.mark.parametrize("others", [[], ["notebook"]], ids=["all", "one of two"])
def test_service_is_missing(lab: Lab, others: list[str]) -> None:
    found = problems(lab, "experiment-service", *others)
    assert found["vantage_unreachable"]["where"] == ["experiment-service"]
    assert "docker compose ps" in found["vantage_unreachable"]["remedy"]


def test_training_job_does_not_start(lab: Lab) -> None:
    found = problems(lab, "train", level="full")
    assert found["vantage_unreachable"]["where"] == ["train"]
    assert "no such service: train" in found["vantage_unreachable"]["seen"][0]["detail"]


def test_nothing_to_verify(tmp_path: Path) -> None:
    nowhere = Lab(unused_name(), tmp_path / "lab", free_port())
    outcome = nowhere.play("playbooks/verify.yml")
    assert outcome.failed
    assert "Run site.yml first" in " ".join(outcome.output.split())
    assert not nowhere.directory.exists()
