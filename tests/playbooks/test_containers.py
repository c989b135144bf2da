"""A container is a host of the inventory that is named after its Docker host, and reached as that host is."""

import json
from pathlib import Path

from tests.support.ansible import REPOSITORY, run_playbook

PLAYBOOK = REPOSITORY / "tests/playbooks/containers.yml"
HOSTS = {
    "near": {"ansible_connection": "local", "mlflow_stack_project": "near"},
    "far": {"ansible_host": "192.0.2.7", "ansible_port": 2222, "ansible_user": "admin"},
    "plain.example": {},
}


def test_each_docker_host_has_containers_of_its_own(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"docker_hosts": {"hosts": HOSTS}}))
    answers = tmp_path / "answers.json"
    outcome = run_playbook(
        PLAYBOOK, "-i", str(inventory), "--extra-vars", json.dumps({"answers": str(answers)})
    )
    assert not outcome.failed, outcome.output
    far, plain = "-H ssh://admin@192.0.2.7:2222", "-H ssh://root@plain.example"
    assert json.loads(answers.read_text()) == {
        "near-mlflow": ["near", "near-mlflow-1", ""],
        "near-storage-tool": ["near", "near-storage", ""],
        "far-mlflow": ["far", "mlflow-mlflow-1", far],
        "far-storage-tool": ["far", "mlflow-storage", far],
        "plain.example-mlflow": ["plain.example", "mlflow-mlflow-1", plain],
        "plain.example-storage-tool": ["plain.example", "mlflow-storage", plain],
    }
