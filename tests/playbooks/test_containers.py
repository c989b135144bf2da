"""A container is a host of the inventory that is named after its Docker host, and reached as that host is."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_playbook

PLAYBOOK = REPOSITORY / "tests/playbooks/containers.yml"
HOSTS: dict[str, dict[str, object]] = {
    "near": {"ansible_connection": "local", "mlflow_stack_project": "near"},
    "far": {"ansible_host": "192.0.2.7", "ansible_port": 2222, "ansible_user": "admin"},
    "plain.example": {},
}
# Docker hosts without a stack.
LOCAL: dict[str, dict[str, object]] = {
    name: {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "mlflow_stack_dir": "/nonexistent",
        "artifact_storage": "sftp",
        **dict.fromkeys(("sftp_host", "sftp_user"), "nowhere"),
        "sftp_path": "/a",
        "sftp_port": 22,
    }
    for name in ("near", "far")
}


def play(
    directory: Path, *options: str, playbook: Path = PLAYBOOK, hosts: dict[str, dict[str, object]] = HOSTS
) -> Outcome:
    inventory = directory / "hosts.json"
    inventory.write_text(json.dumps({"docker_hosts": {"hosts": hosts}}))
    answers = json.dumps({"answers": str(directory / "answers.json")})
    return run_playbook(playbook, "-i", str(inventory), "--extra-vars", answers, *options)


def test_each_docker_host_has_containers_of_its_own(tmp_path: Path) -> None:
    outcome = play(tmp_path)
    answers = tmp_path / "answers.json"
    assert not outcome.failed, outcome.output
    way = "freegee.mlflow_sftp.docker_exec"
    assert json.loads(answers.read_text()) == {
        "near-mlflow": ["near", "near-mlflow-1", way, "near"],
        "near-storage-tool": ["near", "near-storage", way, "near"],
        "far-mlflow": ["far", "mlflow-mlflow-1", way, "far"],
        "far-storage-tool": ["far", "mlflow-storage", way, "far"],
        "plain.example-mlflow": ["plain.example", "mlflow-mlflow-1", way, "plain.example"],
        "plain.example-storage-tool": ["plain.example", "mlflow-storage", way, "plain.example"],
    }


def test_a_docker_host_named_like_a_container(tmp_path: Path) -> None:
    outcome = play(tmp_path, hosts=HOSTS | {"near-mlflow": {}})
    assert outcome.failed
    assert "The inventory holds near-mlflow" in " ".join(outcome.output.split())
    assert not (tmp_path / "answers.json").exists()


@pytest.mark.parametrize(
    ("playbook", "limit"), [("site.yml", "near"), ("playbooks/verify.yml", "docker_hosts:!far")]
)
def test_a_limit_without_the_containers(tmp_path: Path, playbook: str, limit: str) -> None:
    outcome = play(
        tmp_path, "--limit", limit, "--tags", "verify", playbook=REPOSITORY / playbook, hosts=LOCAL
    )
    output = " ".join(outcome.output.split())
    assert outcome.failed, output
    assert f"--limit {limit} leaves out" in output
    assert "--limit 'near,mlflow_added_hosts'" in output
    assert "changed=0" in output


@pytest.mark.parametrize("limit", ["near,mlflow_added_hosts", "near,near-*", "all"])
def test_a_limit_with_the_containers(tmp_path: Path, limit: str) -> None:
    verify = REPOSITORY / "playbooks/verify.yml"
    outcome = play(tmp_path, "--limit", limit, playbook=verify, hosts=LOCAL)
    output = " ".join(outcome.output.split())
    assert "leaves out" not in output
    assert "There is nothing to verify" in output
