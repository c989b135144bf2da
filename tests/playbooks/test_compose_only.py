"""Playbooks that change a stack of Docker Compose leave one alone that a swarm serves."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.ansible import REPOSITORY, run_playbook
from tests.support.stack import fails

# What works on a swarm, or on no stack at all.
ON_SWARM = {
    "backup",
    "limit",
    "on_swarm",
    "preflight",
    "restore",
    "rotate",
    "site",
    "storage_switch",
    "swarm",
    "teardown",
    "tidy",
    "upgrade",
    "verify",
}
PARTS = {"client_hosts", "client_servers", "compose_only", "lab", "pin_host_key", "sftp"}
PLAYBOOKS = sorted(path.stem for path in (REPOSITORY / "playbooks").glob("*.yml"))


@pytest.mark.parametrize(
    "name",
    [name for name in PLAYBOOKS if name not in ON_SWARM | PARTS and not name.startswith("swarm_")],
)
def test_every_other_playbook_refuses_before_its_own_plays(name: str) -> None:
    plays = yaml.safe_load((REPOSITORY / f"playbooks/{name}.yml").read_text())
    imported = [play.get("ansible.builtin.import_playbook") for play in plays]
    assert "compose_only.yml" in imported
    before = imported[: imported.index("compose_only.yml")]
    assert set(before) <= {"limit.yml"}


def test_the_refusal_says_what_works(tmp_path: Path) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    here = {**local, "mlflow_stack_dir": str(tmp_path / "stack"), "mlflow_stack_engine": "swarm"}
    inventory = tmp_path / "hosts.json"
    inventory.write_text(
        json.dumps({name: {"hosts": {"here": here}} for name in ("docker_hosts", "swarm_managers")})
    )
    output = fails(run_playbook(REPOSITORY / "playbooks/demo.yml", "-i", str(inventory)))
    assert "here has mlflow_stack_engine swarm" in output
    assert (
        "site.yml, verify.yml, storage_switch.yml, upgrade.yml, backup.yml, restore.yml, rotate.yml, tidy.yml and "
        "teardown.yml do. Nothing has been changed." in output
    )
