"""What is told of a swarm's tasks: all of them, or nothing."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import served
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError


class Engine:
    """Docker's client where some tasks are gone by the time that they are asked for."""

    def __init__(self, listed: list[str], gone: int) -> None:
        self._listed, self._gone = listed, gone

    def run(self, *arguments: str) -> str:
        if arguments[0] == "service":
            return "\n".join(self._listed)
        if self._gone:
            self._gone -= 1
            raise CutoverError("no such object")
        return "[" + ",".join(f'{{"ID": "{each}"}}' for each in arguments[2:]) + "]"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(served.docker, "run", Engine(*request.param).run)


@pytest.mark.parametrize(
    ("engine", "ids"),
    [(([], 0), []), ((["a", "b"], 0), ["a", "b"]), ((["a", "b"], 2), ["a", "b"])],
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_all_tasks_are_told(ids: list[str]) -> None:
    found: list[Any] = served.tasks_of("s")
    assert [each["ID"] for each in found] == ids


@pytest.mark.parametrize("engine", [(["a"], 99)], indirect=True)
@pytest.mark.usefixtures("engine")
def test_what_cannot_be_told_is_not_taken_for_none() -> None:
    with pytest.raises(CutoverError, match="the tasks of s cannot be told"):
        served.tasks_of("s")
