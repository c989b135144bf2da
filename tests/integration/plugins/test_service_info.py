"""What the module says of services that a real engine runs, or does not."""

import json
from pathlib import Path

import pytest

from tests.support.ansible import run_module
from tests.support.docker import base_image, docker, unused_name

COMPOSE = """
name: {name}
services:
  postgres:
    image: {image}
    network_mode: none
    command: [sh, -c, "echo one >&2; sleep 0.5; echo via http://me:s3cret@proxy:3128; exit 3"]
  notebook:
    image: {image}
    network_mode: none
    command: [sleep, "60"]
    init: true
"""


@pytest.mark.docker
def test_a_service_that_ended_is_named_with_its_last_words(tmp_path: Path) -> None:
    name = unused_name()
    assert run_module("mlflow_service_info", {"project": name}).result["services"] == []
    (tmp_path / "compose.yml").write_text(COMPOSE.format(name=name, image=base_image()))
    compose = ("compose", "--project-directory", str(tmp_path))
    try:
        docker(*compose, "up", "--detach")
        docker("wait", f"{name}-postgres-1")
        outcome = run_module("mlflow_service_info", {"project": name})
    finally:
        docker(*compose, "down", "--timeout", "0")
    assert not outcome.failed, outcome.output
    services = {each["service"]: each for each in outcome.result["services"]}
    assert services["notebook"]["cause"] == ""
    assert services["postgres"]["cause"] == "service_unhealthy"
    assert services["postgres"]["state"] == "exited, exit code 3"
    problems = outcome.result["problems"]
    assert problems.endswith("The end of its log:\none\nvia http://***@proxy:3128")
    assert "s3cret" not in json.dumps(outcome.result)
