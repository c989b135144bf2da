"""Runs of rotate.yml on one Docker host at once: the module's steps, as role mlflow_rotate asks for them."""

import os
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.key_files import public_half
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

from tests.support.ansible import run_module
from tests.support.server import keygen

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="gives files to the containers' user")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The key of the services of a stack."""
    place = tmp_path / ".secrets/mlflow_sftp_key"
    place.mkdir(parents=True)
    return keygen(place / "id_ed25519", "ed25519")


def step(stack: Path, state: str, run: str = "") -> str:
    """Ask for a state; return what went wrong, or nothing."""
    outcome = run_module("mlflow_ssh_key_rotation", {"directory": str(stack), "state": state, "run": run})
    return str(outcome.result["msg"]) if outcome.failed else ""


def fingerprint_of(private_key: str) -> str:
    return public_half(private_key).fingerprint


def test_a_run_that_another_one_has_overtaken_changes_nothing(tmp_path: Path, key: Path) -> None:
    old = key.read_text()
    # Both have planned the same; the second one goes on from what the first one has begun.
    assert [step(tmp_path, "begun", run) for run in ("1", "2")] == ["", ""]
    assert "Another run works on this rotation" in step(tmp_path, "installed", "1")
    assert key.read_text() == old
    assert step(tmp_path, "installed", "2") == ""
    new = key.read_text()
    assert new != old
    # By then the second one may have removed the old key from the account.
    assert "Another run" in step(tmp_path, "restored", "1")
    assert "Another run" in step(tmp_path, "begun", "1")
    assert "Another run" in step(tmp_path, "finished", "1")
    assert step(tmp_path, "proved", "2") == ""
    assert step(tmp_path, "finished", "2") == ""
    assert key.read_text() == new
    assert (
        tmp_path / ".secrets/retired_keys"
    ).read_text() == f"{fingerprint_of(old)} {fingerprint_of(new)}\n"
    assert not (tmp_path / ".secrets/rotation").exists()


def test_a_run_goes_on_from_one_that_was_interrupted(tmp_path: Path, key: Path) -> None:
    assert [step(tmp_path, state, "1") for state in ("begun", "installed")] == ["", ""]
    assert "Another run" in step(tmp_path, "proved", "2")
    assert [step(tmp_path, state, "2") for state in ("installed", "proved")] == ["", ""]
    assert "Another run" in step(tmp_path, "finished", "1")
    assert step(tmp_path, "finished", "2") == ""


def test_the_old_key_is_kept_where_the_services_have_it_again(tmp_path: Path, key: Path) -> None:
    old = key.read_text()
    assert [step(tmp_path, state, "1") for state in ("begun", "installed", "restored")] == [""] * 3
    assert "proved does not fit" in step(tmp_path, "proved", "1")
    assert "finished does not fit" in step(tmp_path, "finished", "1")
    assert not (tmp_path / ".secrets/retired_keys").exists()
    assert key.read_text() == old


def test_a_switch_that_is_planned_has_a_copy_of_the_old_key(tmp_path: Path, key: Path) -> None:
    store = Store.at("local", "direct", "/mlruns")
    record = SwitchRecord(id="20260101T000000Z", source=store, target=store)
    place = tmp_path / "switches" / record.id
    place.mkdir(parents=True)
    write(record, place)
    for state in ("planned", "begun"):
        assert "is copying, and would bring back what is replaced now" in step(tmp_path, state)
    write(record.updated(state="done"), place)
    assert step(tmp_path, "begun") == ""
