"""What a cutover does first where another run was killed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import Deeds
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.admission import command

MAINT, READY = " ".join(command("maint")), " ".join(command("ready"))


class Closing:
    """A cutover that closes a stack with a gateway; `done` is what it had Docker do, `broken` what Docker cannot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.broken = ""
        stack: Any = Stack.__new__(Stack)
        stack.project = SimpleNamespace(name="mlflow", stopped=(), gateways=["gateway"], on_swarm=False)
        stack.settings = SimpleNamespace(switches=Path("/nowhere"), wait_timeout=1)
        stack.compose = SimpleNamespace(run=self._run)
        monkeypatch.setattr(docker, "remove", lambda *names: self._run("remove", *names))
        monkeypatch.setattr(docker, "run", self._run)
        deeds: Any = Deeds(stack, SimpleNamespace(id="now"))  # type: ignore[type-var]
        monkeypatch.setattr(deeds, "_provide_maintenance", lambda: None)
        self.close = lambda: deeds.close(deeds._record)

    def _run(self, *arguments: str) -> None:
        self.done.append(" ".join(arguments))
        if self.broken and self.broken in self.done[-1]:
            raise CutoverError("broken")

    def place_of(self, words: str) -> int:
        return next(place for place, deed in enumerate(self.done) if words in deed)


@pytest.fixture
def closing(monkeypatch: pytest.MonkeyPatch) -> Closing:
    return Closing(monkeypatch)


def test_closing_ends_what_a_killed_tidying_left_running(closing: Closing) -> None:
    closing.close()
    assert closing.place_of("remove mlflow-tidy") < closing.place_of("stop mlflow")


def test_requests_wait_before_mlflow_ends_until_somebody_answers_in_its_place(closing: Closing) -> None:
    closing.close()
    maint, ready = closing.place_of(MAINT), closing.place_of(READY)
    assert maint < closing.place_of("stop mlflow") < closing.place_of("container start") < ready


def test_requests_do_not_wait_for_ever_for_a_server_that_does_not_end(closing: Closing) -> None:
    closing.broken = "stop mlflow"
    with pytest.raises(CutoverError):
        closing.close()
    assert READY in closing.done[-1]


def test_a_gateway_that_cannot_have_requests_wait_does_not_keep_mlflow_from_closing(closing: Closing) -> None:
    closing.broken = "mlflow-gateway-1"
    closing.close()
    assert closing.place_of("stop mlflow")
