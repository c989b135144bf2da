"""Client hosts where the deployment of one of several servers failed."""

import json
from pathlib import Path

from tests.support.ansible import REPOSITORY, run_playbook
from tests.support.stack import fails, passes

PLAYBOOK = REPOSITORY / "tests/playbooks/client_servers.yml"


def inventory(directory: Path) -> str:
    here = {"ansible_connection": "local"}
    clients = {f"of_{name}": {**here, "mlflow_stack_server_host": name} for name in ("first", "second")}
    groups = {
        "docker_hosts": {"hosts": {"first": here, "second": here}},
        "mlflow_clients": {"hosts": clients},
    }
    path = directory / "hosts.json"
    path.write_text(json.dumps(groups))
    return str(path)


def test_a_client_host_does_not_go_ahead_of_its_server(tmp_path: Path) -> None:
    output = fails(run_playbook(PLAYBOOK, "-i", inventory(tmp_path)))
    assert "of_first uses the server of first, whose deployment failed" in output
    assert "of_first is deployed" not in output
    assert "of_second is deployed" in output


def test_a_server_that_a_run_leaves_out_has_not_failed(tmp_path: Path) -> None:
    output = passes(run_playbook(PLAYBOOK, "-i", inventory(tmp_path), "--limit", "second,mlflow_clients"))
    assert "of_first is deployed" in output
