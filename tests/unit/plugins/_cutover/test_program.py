"""What the cutover makes of the answers of the package's program."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    UnchangedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import Program


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({}, CutoverError),
        ({"unchanged": False}, CutoverError),
        ({"unchanged": True}, UnchangedError),
    ],
)
def test_only_what_says_so_has_changed_nothing(
    told: dict[str, Any], kind: type[CutoverError], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program.__new__(Program)
    error = {"cause": "database", "message": "m", "seen": "the disk is full", "remedy": "Make room", **told}
    answer = {"exit": 1, "result": {"contract": 1, "error": error}, "errors": ""}
    monkeypatch.setattr(program, "wait", lambda: None)
    monkeypatch.setattr(program, "_exchange", lambda arguments: answer)
    with pytest.raises(CutoverError, match=r"the disk is full\. Make room") as failed:
        program.call("restore", "file")
    assert type(failed.value) is kind
