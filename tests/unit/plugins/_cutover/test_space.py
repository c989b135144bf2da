"""What is asked of each place; one that does not answer keeps no other from being told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, space
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.capacity import Place
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

SFTP = Store.at("sftp", "direct", "sftp://me@host:22/a")


class Answers:
    """The program in the server's container."""

    def __init__(self, failing: str = "", **account: object) -> None:
        self._failing = failing
        self._account = account

    def call(self, command: str, *arguments: str, seconds: float) -> dict[str, Any]:
        place = arguments[0] if arguments else "database"
        if self._failing and self._failing in place:
            raise CutoverError(f"{place} does not answer")
        store = {"free_bytes": 500, "total_bytes": 1000, **(self._account if "sftp:" in place else {})}
        return {"store": store, "database": {"bytes": 7}}

    def end(self) -> None: ...


def look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: Answers, quota: int = 0, running: bool = True
) -> dict[str, Place]:
    monkeypatch.setattr(docker, "inspect", lambda name: {"State": {"Running": running}})
    monkeypatch.setattr(space, "Program", lambda container, preload: answers)
    stack: Any = SimpleNamespace(
        store=SFTP,
        database="sqlite:////var/lib/mlflow/mlflow.db",
        settings=SimpleNamespace(local_root="/mlruns", directory=tmp_path),
        project=SimpleNamespace(name="mlflow", services=()),
    )
    return {place.name.split(" ")[-1]: place for place in space.places(stack, quota)}


@pytest.mark.parametrize(
    ("failing", "place"),
    [("sftp:", "me@host:22"), ("/mlruns", "artifacts"), ("/var/lib/mlflow", "database")],
)
def test_one_place_that_fails_is_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: str, place: str
) -> None:
    found = look(monkeypatch, tmp_path, Answers(failing))
    assert {name for name, each in found.items() if each.free is None} == {place}
    assert "does not answer" in str(found[place])
    assert found[str(tmp_path)].free


def test_the_host_is_told_where_the_server_is_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = look(monkeypatch, tmp_path, Answers(), running=False)
    assert found.pop(str(tmp_path)).free
    assert {each.reason for each in found.values()} == {"mlflow-mlflow-1 does not run"}
    assert {each.free for each in found.values()} == {None}


def test_what_cannot_be_listed_is_not_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = {"free_bytes": None, "total_bytes": None, "bytes": 60, "unreadable": {}}
    assert look(monkeypatch, tmp_path, Answers(**whole), 100)["me@host:22"].free == 40
    found = look(monkeypatch, tmp_path, Answers(**{**whole, "unreadable": {"x": "denied"}}), 100)
    assert (found["me@host:22"].free, found["me@host:22"].used) == (None, None)
    assert "not everything on it can be listed" in str(found["me@host:22"])
