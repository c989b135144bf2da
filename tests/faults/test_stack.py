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


def test_faults_of_all_kinds_at_once_and_none_after_the_remedy(lab: Lab) -> None:
    """A key whose directory was replaced, an environment that has changed, a service that is missing."""
    shutil.rmtree(lab.stack / ".secrets/mlflow_sftp_key")
    new_key(lab)
    (lab.stack / ".env").write_text("GREETING=good evening\n")
    found = problems(lab, "notebook", "experiment-service")
    require_outdated_key(found)
    assert f"{lab.name}-notebook-1" in found["stack_outdated"]["seen"][0]["detail"]
    assert "docker compose up -d" in found["stack_outdated"]["remedy"]
    require_missing_service(found)
    lab.compose("up", "--detach", "--force-recreate", "--timeout", "0")
    found = problems(lab, "notebook")
    assert not {"container_key_outdated", "stack_outdated", "vantage_unreachable"} & found.keys()


def test_key_directory_was_moved_away(lab: Lab) -> None:
    (lab.stack / ".secrets/mlflow_sftp_key").rename(lab.directory / "old")
    new_key(lab)
    require_outdated_key(problems(lab, "notebook"))


def test_the_only_service_is_missing(lab: Lab) -> None:
    require_missing_service(problems(lab, "experiment-service"))


def require_outdated_key(found: dict[str, Any]) -> None:
    assert "container_key_outdated" in found, found
    problem = found["container_key_outdated"]
    assert problem["where"] == ["notebook"]
    assert "--force-recreate" in problem["remedy"]
    assert "/run/secrets/mlflow_sftp_key/id_ed25519" in problem["seen"][0]["detail"]


def require_missing_service(found: dict[str, Any]) -> None:
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
