"""Variables that nothing reads are warned about, and the collection's own names are known."""

import re

from ansible_collections.freegee.mlflow_sftp.plugins.filter.input_findings import _specs
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.names import (
    OWN_NAMES,
    unknown_names,
)

from tests.support.ansible import REPOSITORY

_SET = re.compile(r"^\s+((?:mlflow_stack|sftp|artifact_storage)_[a-z_]+):", re.MULTILINE)
_MODULES = {path.stem for path in (REPOSITORY / "plugins/modules").glob("*.py")}


def test_the_nearest_name_is_offered() -> None:
    known = _specs()
    assert unknown_names(["mlflow_stack_acess", "sftp_hots", "sftp_host", "mlflow", "other"], known) == [
        "Nothing reads the variable mlflow_stack_acess; did you mean mlflow_stack_access?",
        "Nothing reads the variable sftp_hots; did you mean sftp_host?",
    ]
    (far,) = unknown_names(["sftp_zzzzzzzzzzzz"], known)
    assert far == "Nothing reads the variable sftp_zzzzzzzzzzzz; no name is like it."


def test_what_the_collection_sets_itself_is_known() -> None:
    sources = [*(REPOSITORY / "roles").glob("*/tasks/**/*.yml"), *(REPOSITORY / "playbooks").rglob("*.yml")]
    inventories = (REPOSITORY / "inventories").rglob("*.yml")
    names = {name for path in [*sources, *inventories] for name in _SET.findall(path.read_text())}
    # A group, and an option of a module.
    others = {"sftp_hosts", "sftp_uri"}
    assert sorted(names - _MODULES - _specs().keys() - OWN_NAMES - others) == []
