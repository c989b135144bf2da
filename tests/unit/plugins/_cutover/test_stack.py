"""What serves the stack of a directory, as its files say."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Settings,
    Stack,
    is_on_swarm,
)


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


def stack(directory: Path, *, on_swarm: bool) -> Stack:
    """A stack of one network."""
    made = Stack.__new__(Stack)
    made.settings = Settings(directory)
    told = {"name": "mlflow", "networks": ["mlflow_swarm"], "hosts": (), "image": "sha256:x"}
    project: Any = SimpleNamespace(**told, on_swarm=on_swarm)
    made.project, made.database = project, "postgresql://u@h/d"
    return made


@pytest.mark.parametrize(
    ("on_swarm", "availability", "words"),
    [
        (True, "drain", "deadline exceeded. h1 is the stack's home, and its availability is drain"),
        (True, "pause", "deadline exceeded. h1 is the stack's home, and its availability is pause"),
        (True, "active", "deadline exceeded."),
        # One that manages no swarm, or one without a quorum.
        (True, "", "deadline exceeded."),
        (False, "drain", "deadline exceeded."),
    ],
)
def test_why_a_network_does_not_let_the_homes_container_in(
    on_swarm: bool, availability: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def run(*arguments: str, **options: Any) -> str:
        if arguments == ("node", "inspect", "self") and availability:
            node = {"ID": "n1", "Description": {"Hostname": "h1"}}
            return json.dumps([{**node, "Spec": {"Role": "manager", "Availability": availability}}])
        raise CutoverError("attaching to network failed: context deadline exceeded")

    monkeypatch.setattr(docker, "run", run)
    monkeypatch.setattr(docker, "remove", removed.append)
    with pytest.raises(CutoverError) as error:
        stack(tmp_path, on_swarm=on_swarm).start_tool("tool", ())
    assert words in str(error.value)
    assert ("the stack's home" in str(error.value)) is ("the stack's home" in words)
    # What the engine has made of it, would be taken for one that runs.
    assert removed == ["tool", "tool"]
