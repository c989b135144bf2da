"""What a swarm's servers become with another store, and on the way back: files, description, and what they saw."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import swarm_driver
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.swarm_driver import (
    DESCRIPTION,
    STORED,
    SwarmDriver,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import Progress

KEYS = ".secrets/mlflow_sftp_key"
STORED_BEFORE = [
    "--default-artifact-root=mlflow-artifacts:/",
    "--serve-artifacts",
    "--artifacts-destination=sftp://u@h:22/a",
]
BEFORE: dict[str, Any] = {
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": "sha256:1",
            "Args": ["mlflow-sftp", "login-server", "--workers=4", *STORED_BEFORE],
            "Env": ["MLFLOW_ARTIFACT_URI=sftp://u@h:22/a", "OTHER=1"],
            "Secrets": [{"SecretName": "old key"}, {"SecretName": "shared"}],
            "Configs": [],
        }
    },
    "Mode": {"Replicated": {"Replicas": 2}},
}
TOLD = {
    "arguments": ["--default-artifact-root=sftp://u@h:23/b", "--no-serve-artifacts"],
    "environment": {"MLFLOW_ARTIFACT_URI": "sftp://u@h:23/b"},
}
ENV = "MLFLOW_ARTIFACT_URI='{}'\nMLFLOW_STACK_ENGINE='swarm'\n"


class Swarm:
    """A stack's home with a cutover that has saved its files; `seen` is what services see by now."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.cutover = directory / "stack", directory / "stack/switches/now"
        for place, word in ((self.home, "old"), (self.cutover / "next", "new")):
            for name in ("mlflow/ssh_config", f"{KEYS}/id_rsa"):
                (place / name).parent.mkdir(parents=True)
                (place / name).write_text(word)
        (self.home / ".env").write_text(ENV.format("sftp://u@h:22/a"))
        (self.cutover / DESCRIPTION).write_text(json.dumps(BEFORE))
        (self.cutover / "next" / STORED).write_text(json.dumps(TOLD))
        self.seen: list[str] = []
        self.removed: list[tuple[str, ...]] = []
        settings = SimpleNamespace(
            directory=self.home, config_dir="/etc/c", key_dir="/k", uid=1, gid=1, wait_timeout=1
        )
        stack: Any = SimpleNamespace(settings=settings, project=SimpleNamespace(name="mlflow"))
        self.driver = SwarmDriver(stack)
        monkeypatch.setattr(swarm_driver.docker, "run", self._run)
        monkeypatch.setattr(swarm_driver, "services_of", self._services)

    @property
    def wanted(self) -> Any:
        """What servers are to be described as."""
        return self.driver._wanted

    def _run(self, *arguments: str) -> str:
        if arguments[1] == "rm":
            self.removed.append(arguments)
        return f"id-{arguments[-2]}" if arguments[1] == "create" else ""

    def _services(self, project: str, directory: Path) -> list[Any]:
        container = {"Secrets": [{"SecretName": name} for name in self.seen]}
        return [{"Spec": {"TaskTemplate": {"ContainerSpec": container}}}]


@pytest.fixture
def swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swarm:
    return Swarm(tmp_path, monkeypatch)


def test_there_and_back(swarm: Swarm) -> None:
    archive, following = swarm.cutover / "before.tar", swarm.cutover / "next"
    swarm_driver.files.save(swarm.home, archive)
    swarm.driver.describe_store(following)
    swarm.driver.install(following)
    container = swarm.wanted["TaskTemplate"]["ContainerSpec"]
    # Login and workers are those of the servers, whatever the inventory says by now.
    assert container["Args"] == ["mlflow-sftp", "login-server", "--workers=4", *TOLD["arguments"]]
    assert container["Env"] == ["MLFLOW_ARTIFACT_URI=sftp://u@h:23/b", "OTHER=1"]
    assert [each["File"]["Name"] for each in container["Secrets"]] == ["/k/id_rsa"]
    assert [each["ConfigID"] for each in container["Configs"]] == [
        f"id-{each['ConfigName']}" for each in container["Configs"]
    ]
    assert swarm.wanted["Mode"] == BEFORE["Mode"]
    assert (swarm.home / ".env").read_text() == ENV.format("sftp://u@h:23/b")
    assert (swarm.home / ".env").stat().st_mode & 0o777 == 0o600
    assert (swarm.home / KEYS / "id_rsa").read_text() == "new"
    swarm.driver.restore(archive, credentials=True)
    assert swarm.wanted == BEFORE
    assert (swarm.home / ".env").read_text() == ENV.format("sftp://u@h:22/a")
    assert (swarm.home / KEYS / "id_rsa").read_text() == "old"


def test_what_changes_no_store_changes_no_file(swarm: Swarm) -> None:
    archive, following = swarm.cutover / "before.tar", swarm.cutover / "next"
    (following / STORED).unlink()
    swarm.driver.describe(following, "sha256:2")
    swarm.driver.install(following)
    assert swarm.wanted["TaskTemplate"]["ContainerSpec"]["Image"] == "sha256:2"
    # Without an archive.
    swarm.driver.restore(archive, credentials=False)
    assert swarm.wanted == BEFORE
    assert (swarm.home / KEYS / "id_rsa").read_text() == "old"


@pytest.mark.parametrize(
    ("seen", "removed"),
    [(["new key", "shared"], ["old key"]), (["old key", "shared"], ["new key"]), (["shared"], ["new key", "old key"])],
)  # fmt: skip
def test_what_no_server_sees_any_more_is_removed(swarm: Swarm, seen: list[str], removed: list[str]) -> None:
    swarm.seen = [*seen, "another stack's"]
    after = json.loads(json.dumps(BEFORE).replace("old key", "new key"))
    (swarm.cutover / "next" / DESCRIPTION).write_text(json.dumps(after))
    swarm.driver.forget(swarm.cutover)
    assert swarm.removed == [("secret", "rm", name) for name in removed]


class Servers:
    """A swarm's servers, which answer the stack with these statuses, one after the other."""

    def __init__(self, swarm: Swarm, monkeypatch: pytest.MonkeyPatch, *statuses: str) -> None:
        self.statuses, self.left = list(statuses), set[str]()
        stack: Any = swarm.driver._stack
        stack.asker, stack.start_tool = "mlflow-storage-ask", self._start
        monkeypatch.setattr(swarm.driver, "_described", lambda: BEFORE)
        monkeypatch.setattr(swarm.driver, "_progress", lambda: Progress("mlflow_mlflow", 2, 2, "", ""))
        monkeypatch.setattr(swarm_driver, "nodes", lambda: [])
        monkeypatch.setattr(swarm_driver, "closed", lambda: [])
        monkeypatch.setattr(swarm_driver, "_answer_of", self._answer)
        monkeypatch.setattr(swarm_driver.docker, "remove", self.left.discard)

    def _start(self, name: str, volumes: Any, image: str) -> None:
        assert image == "sha256:1"
        self.left.add(name)

    def _answer(self, container: str, host: str) -> str:
        assert (container in self.left, host) == (True, "mlflow")
        return self.statuses.pop(0)


@pytest.mark.parametrize("statuses", [("200",), ("", "", "200"), ("503",)])
def test_servers_that_let_the_stack_in_may_be_changed(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch, statuses: tuple[str, ...]
) -> None:
    servers = Servers(swarm, monkeypatch, *statuses)
    swarm.driver.require_steady(2, closes=True)
    assert not servers.statuses
    assert not servers.left


def test_servers_with_another_login_than_the_homes_are_left_alone(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = Servers(swarm, monkeypatch, "", "401")
    with pytest.raises(RefusedError, match=r"do not let the stack in: .* Nothing was changed") as error:
        swarm.driver.require_steady(2, closes=True)
    assert "run site.yml" in error.value.remedy
    assert not servers.left


def test_a_home_that_cannot_ask_its_servers_closes_nothing(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    Servers(swarm, monkeypatch)
    monkeypatch.setattr(swarm_driver, "closed", lambda: ["The home is drained."])
    with pytest.raises(RefusedError, match=r"The home is drained\. Nothing was changed"):
        swarm.driver.require_steady(2, closes=True)


class Candidate:
    """A swarm's next server beside those that serve, that answers with these statuses, one after the other."""

    def __init__(self, swarm: Swarm, monkeypatch: pytest.MonkeyPatch, *statuses: str) -> None:
        self.statuses = list(statuses)
        # Whether it was one that answers, each time that was asked until it was.
        self.answered: list[bool] = []
        stack: Any = swarm.driver._stack
        stack.candidate, stack.project = "mlflow-candidate", SimpleNamespace(networks=["mlflow"], hosts=())
        monkeypatch.setattr(swarm.driver, "_volumes", lambda following: [])
        monkeypatch.setattr(swarm_driver.docker, "run", self._run)
        monkeypatch.setattr(swarm_driver.docker, "wait_until_healthy", self._wait)
        (swarm.cutover / "next" / DESCRIPTION).write_text(json.dumps(BEFORE))

    def _wait(self, name: str, seconds: float, answers: Callable[[], bool]) -> None:
        while not any(self.answered):
            self.answered.append(answers())

    def _run(self, *arguments: str) -> str:
        if arguments[1] != "exec":
            return ""
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if not status:
            raise CutoverError("docker exec failed")
        return f"{status}\n"


def test_a_candidate_is_one_that_answers(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = Candidate(swarm, monkeypatch, "", "503", "200")
    swarm.driver.start_candidate(swarm.cutover / "next", ())
    assert candidate.answered == [False, False, True]


def test_a_candidate_that_takes_another_password_is_told_at_once(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = Candidate(swarm, monkeypatch, "", "401")
    with pytest.raises(CutoverError, match="another password of its administrator") as error:
        swarm.driver.start_candidate(swarm.cutover / "next", ())
    assert "docker service update --force mlflow_mlflow" in error.value.remedy
    assert candidate.answered == [False, True]
