"""What is tidied on a node of a swarm that is not the stack's home."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy import downloads
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.asking import Manner
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Days
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.node import Home, tidy_node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import Outcome

LABEL = "--filter=label=freegee.mlflow_sftp.owner=/srv/mlflow"
NEEDED = {"sha256:undo": "the upgrade goes back to it", "freegee/mlflow-server:next": "it is planned"}


class Node:
    """An engine with servers, each of so many old downloads, and images; `gone` are those that end when asked."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, images: str = "", gone: tuple[str, ...] = ()
    ) -> None:
        self.servers = {"mlflow_mlflow.1.x": 1, "mlflow_mlflow.2.y": 2}
        self._images = images.split()
        self._gone = gone
        self.removed: list[str] = []
        self.asked: list[tuple[str, ...]] = []
        node = self

        class Program:
            def __init__(self, server: str, preload: list[str]) -> None:
                self._server = server

            def call(self, *arguments: str, **_: object) -> dict[str, Any]:
                node.asked.append(arguments)
                if self._server in node._gone:
                    del node.servers[self._server]
                    raise CutoverError("the program ended")
                kept = {"/tmp/tmpopen": "a process has it open", "/tmp/tmpyoung": "it is too young"}
                return {"removed": {"files": node.servers[self._server], "bytes": 10}, "kept": kept}

            def end(self) -> None:
                """It has."""

        monkeypatch.setattr(downloads, "Program", Program)
        monkeypatch.setattr(docker, "run", self._run)
        monkeypatch.setattr(
            docker, "inspect", lambda name: {"State": {"Running": True}} if name in self.servers else None
        )

    def _run(self, *arguments: str) -> str:
        kind, verb = arguments[:2]
        if (kind, verb) == ("image", "ls"):
            assert LABEL in arguments
            return " ".join(self._images)
        if (kind, verb) == ("image", "inspect"):
            made = {"Created": "2020-01-01T00:00:00Z", "Size": 1}
            return json.dumps([{"Id": each, "RepoTags": _tags(each), **made} for each in arguments[2:]])
        if (kind, verb) == ("image", "rm"):
            self.removed += arguments[2:]
        if "--filter=label=com.docker.swarm.service.name=mlflow_mlflow" in arguments:
            return " ".join(self.servers)
        return ""


def _tags(image: str) -> list[str]:
    return ["freegee/mlflow-server:next"] if image == "sha256:next" else []


def tidied(
    *, needed: dict[str, str] | None = None, refused: str = "", check: bool = False, **days: int
) -> dict[str, Outcome]:
    home = Home(Path("/srv/mlflow"), "mlflow", NEEDED if needed is None else needed, refused)
    found = tidy_node(home, Days(**days), Manner(7200.0, check))
    return {each.kind: each for each in found}


def test_every_server_of_the_node_loses_old_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(monkeypatch)
    found = tidied(downloads=2)
    assert list(found) == ["downloads"]
    assert (found["downloads"].count, found["downloads"].bytes) == (3, 20)
    assert found["downloads"].kept == {
        f"{server}: /tmp/tmpopen": "a process has it open" for server in node.servers
    }
    assert node.asked == [("clean-downloads", "--hours", "48")] * 2


def test_check_mode_deletes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(monkeypatch, images="sha256:old")
    found = tidied(downloads=1, cutovers=90, check=True)
    assert [each.count for each in found.values()] == [3, 1]
    assert {arguments[-1] for arguments in node.asked} == {"--check"}
    assert node.removed == []


def test_a_server_that_the_swarm_has_replaced_meanwhile_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Node(monkeypatch, gone=("mlflow_mlflow.1.x",))
    found = tidied(downloads=1)["downloads"]
    assert (found.error, found.count) == ("", 2)
    assert found.kept["mlflow_mlflow.1.x"] == "it does not run"


def test_images_that_the_home_needs_stay_by_name_and_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(monkeypatch, images="sha256:old sha256:undo sha256:next")
    found = tidied(cutovers=90)["images"]
    assert node.removed == ["sha256:old"]
    assert found.kept == NEEDED


def test_without_a_word_of_the_home_all_images_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(monkeypatch, images="sha256:old")
    found = tidied(cutovers=90, needed={})["images"]
    assert (node.removed, found.count) == ([], 0)
    assert "home has not told" in found.kept["all of them"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("days", "kinds"),
    [({"downloads": 1, "cutovers": 90}, ["downloads", "images"]), ({"cutovers": 90}, ["images"]), ({}, [])],
)
def test_where_the_home_has_refused_everything_stays(
    days: dict[str, int], kinds: list[str], check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(monkeypatch, images="sha256:old")
    found = tidied(refused="An upgrade is half done. Finish it.", check=check, **days)
    assert list(found) == kinds
    for each in found.values():
        assert (each.count, each.error) == (0, "")
        assert (
            "the stack's home has tidied nothing: An upgrade is half done. Finish it." in each.lines(check)[1]
        )
    assert (node.asked, node.removed) == ([], [])
