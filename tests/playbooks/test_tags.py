"""Tags that leave out what the chosen part needs: a sentence, and nothing is changed."""

import json
from pathlib import Path

import pytest

from tests.support.ansible import REPOSITORY, run_playbook
from tests.support.docker import unused_name
from tests.support.server import free_port

pytestmark = [pytest.mark.docker, pytest.mark.full]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tags", "sftp"), ["does not answer on port", "--tags lab,sftp"]),
        pytest.param(
            ("--skip-tags", "preflight,docker,lab,stack,verify", "--check"),
            ["--tags lab,sftp"],
            marks=pytest.mark.sweep,
        ),
        (("--tags", "stack"), ["neither key nor configuration for mlflow, notebook", "the tag sftp"]),
        pytest.param(
            ("--tags", "configure"), ["holds no stack that could be configured"], marks=pytest.mark.sweep
        ),
        (("--tags", "service"), ["holds no stack that could be started"]),
    ],
    ids=["sftp", "without lab", "stack", "configure", "service"],
)
def test_part_whose_ground_is_not_laid(tmp_path: Path, options: tuple[str, ...], words: list[str]) -> None:
    lab, name = tmp_path / "lab", unused_name()
    variables = {
        "lab_dir": str(lab),
        "lab_network": name,
        "lab_sftp_container": f"{name}-sftp",
        "sftp_port": free_port(),
        "mlflow_stack_project": name,
        "mlflow_stack_port": 0,
        "mlflow_stack_notebook_port": 0,
    }
    outcome = run_playbook(REPOSITORY / "site.yml", *options, "--extra-vars", json.dumps(variables))
    output = " ".join(outcome.output.split())
    assert outcome.failed, output
    for word in [*words, "Nothing has been changed"]:
        assert word in output
    assert "changed=0" in output
    assert not lab.exists()


@pytest.mark.parametrize("playbook", ["verify", "storage_switch", "storage_prune", "audit", "teardown"])
def test_limit_that_leaves_no_docker_host(playbook: str) -> None:
    outcome = run_playbook(REPOSITORY / f"playbooks/{playbook}.yml", "--limit", "tajo.host.ch")
    output = " ".join(outcome.output.split())
    assert outcome.failed, output
    assert "--limit tajo.host.ch leaves out every Docker host" in output
    assert "changed=0" in output
