"""What a cutover does first where another run was killed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import Deeds
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def test_closing_ends_what_a_killed_tidying_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    stack: Any = Stack.__new__(Stack)
    stack.project = SimpleNamespace(name="mlflow", stopped=())
    stack.settings = SimpleNamespace(switches=Path("/nowhere"))
    stack.compose = SimpleNamespace(run=lambda *arguments: done.append(" ".join(arguments)))
    monkeypatch.setattr(docker, "remove", lambda *names: done.append(f"remove {' '.join(names)}"))
    monkeypatch.setattr(docker, "run", lambda *arguments: done.append(" ".join(arguments)))
    deeds: Any = Deeds(stack, SimpleNamespace(id="now"))  # type: ignore[type-var]
    monkeypatch.setattr(deeds, "_provide_maintenance", lambda: None)
    deeds.close(deeds._record)
    assert done.index("remove mlflow-tidy") < done.index("stop mlflow")
