"""What serves the stack of a directory, as its files say."""

from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import is_on_swarm


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, False),
        ("MLFLOW_STACK_PROJECT='mlflow'\n", False),
        ("MLFLOW_STACK_PROJECT='mlflow'\nMLFLOW_STACK_ENGINE='swarm'\n", True),
        ("MLFLOW_STACK_ENGINE='compose'\n", False),
    ],
)
def test_what_serves_a_stack(text: str | None, expected: bool, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / ".env").write_text(text)
    assert is_on_swarm(tmp_path) is expected


def test_what_nobody_may_read_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(OSError, match=r"\.env"):
        is_on_swarm(tmp_path)
