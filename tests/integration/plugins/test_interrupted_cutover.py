"""A deployment over a cutover that is half done: refused, and told how that one ends."""

import json
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked

from tests.support.ansible import run_module
from tests.support.server import keygen

STORE = {"storage": "local", "access": "direct", "uri": "/mlruns", "root": "/mlruns"}
RECORDS = {
    "switch": {"from": STORE, "to": {**STORE, "access": "proxied"}},
    "upgrade": {"from": {"image": "server:1"}, "to": {"image": "server:2"}, "store": STORE},
    "restore": {
        "store": STORE,
        "snapshot": {
            **{"id": "6de574a0", "time": 0, "mlflow": "3.17.2", "schema": ["aaa"], "runs": [1, 1]},
            **{"database": "sqlite", "store": STORE, "has_artifacts": True},
        },
    },
}


def findings(directory: Path, *, settled: bool) -> list[str]:
    options = {
        "directory": str(directory),
        "project": "mlflow-interrupted",
        "entries": ["switches"],
        "telling": ["switches"],
        "seal": "compose.yml",
        "settled": settled,
        "variables": {"project": "mlflow_stack_project", "directory": "mlflow_stack_dir"},
    }
    return run_module("mlflow_stack_info", options).result["findings"]


def record(directory: Path, kind: str, state: str) -> None:
    path = directory / "switches/20260101T000000Z" / f"{kind}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"id": path.parent.name, "state": state, "version": 2, **RECORDS[kind]}))


@pytest.mark.parametrize(
    ("kind", "playbook"),
    [("switch", "storage_switch"), ("upgrade", "upgrade"), ("restore", "restore")],
)
def test_a_cutover_that_is_half_done_stands_in_the_way(tmp_path: Path, kind: str, playbook: str) -> None:
    record(tmp_path, kind, "opening")
    (found,) = findings(tmp_path, settled=True)
    assert f"The {kind} {'of snapshot' if kind == 'restore' else 'from'} " in found
    assert f"half done. Finish or undo it first: playbooks/{playbook}.yml -e resume=finish|undo" in found
    assert findings(tmp_path, settled=False) == []


@pytest.mark.parametrize("state", ["done", "undone"])
def test_one_that_has_ended_does_not(tmp_path: Path, state: str) -> None:
    record(tmp_path, "upgrade", state)
    assert findings(tmp_path, settled=True) == []


def test_a_record_that_nobody_can_read_stands_in_the_way(tmp_path: Path) -> None:
    record(tmp_path, "switch", "melting")
    (found,) = findings(tmp_path, settled=True)
    assert "unknown state 'melting'" in found


def test_no_key_is_rotated_beside_a_cutover(tmp_path: Path) -> None:
    key = keygen(tmp_path / "id_ed25519", "ed25519")
    services = tmp_path / ".secrets/mlflow_sftp_key"
    services.mkdir(parents=True)
    key.rename(services / key.name)
    options = {"directory": str(tmp_path), "state": "begun"}
    record(tmp_path, "switch", "opening")
    outcome = run_module("mlflow_ssh_key_rotation", options)
    assert outcome.failed
    assert "half done" in outcome.result["msg"]
    (tmp_path / "switches/20260101T000000Z/switch.json").unlink()
    with locked(tmp_path / "switches"):
        outcome = run_module("mlflow_ssh_key_rotation", options)
    assert outcome.failed
    assert "Another run works on this stack" in outcome.result["msg"]
    assert not (tmp_path / ".secrets/rotation").exists()
    assert run_module("mlflow_ssh_key_rotation", options, check=True).result["changed"]
    assert not (tmp_path / ".secrets/rotation").exists()
    assert run_module("mlflow_ssh_key_rotation", options).result["changed"]
    assert not run_module("mlflow_ssh_key_rotation", options).result["changed"]
