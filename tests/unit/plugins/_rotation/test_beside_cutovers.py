"""Rotations and cutovers of one stack: which credentials a tool has, and what cannot be undone any more."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from ansible_collections.freegee.mlflow_sftp.plugins.modules.mlflow_secret_rotation import upgrade_warning
from ansible_collections.freegee.mlflow_sftp.plugins.modules.mlflow_storage_prune import account_in_use

STORE = Store.at("local", "direct", "/mlruns")
UPGRADE = UpgradeRecord(
    id="1", source=Version(image="a"), target=Version(image="b"), store=STORE, state="done"
)
SWITCH = SwitchRecord(id="2", source=STORE, target=STORE, state="done")


def test_the_account_in_use_has_the_key_of_the_stack(tmp_path: Path) -> None:
    """That of the switch may have been rotated away since."""
    stack = object.__new__(Stack)
    client = tmp_path / "switches/1/client"
    for directory in (tmp_path, client):
        (directory / "mlflow").mkdir(parents=True)
        (directory / "mlflow/known_hosts").touch()
    settings = SimpleNamespace(directory=tmp_path, config_dir="/etc/mlflow_sftp", key_dir="/run/key")
    stack.settings = settings  # type: ignore[assignment]
    assert account_in_use(stack, client) == [
        f"{client}/mlflow:/etc/mlflow_sftp_next:ro,z",
        f"{tmp_path}/.secrets/mlflow_sftp_key:/run/key_next:ro,z",
    ]


@pytest.mark.parametrize(
    ("records", "warned"),
    [([], False), ([UPGRADE], True), ([UPGRADE, SWITCH], False), ([UPGRADE.updated(state="undone")], False)],
)
def test_an_upgrade_that_cannot_be_undone_any_more(records: list[Record], warned: bool) -> None:
    said = upgrade_warning(records, "the notebook's token")
    assert ("upgrade from a to b of 1 cannot be undone any more" in said) is warned
