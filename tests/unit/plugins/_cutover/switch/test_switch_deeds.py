"""What a switch does before MLflow is closed, on a docker client that only notes what it is asked for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import deeds, docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.operations import Switch
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import login

_KEEP = "--env=MLFLOW_SFTP_KEEP_USERS=true"


class Candidate:
    """A switch whose candidate takes the stack's password or not, and what it was started with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lets_in: bool) -> None:
        self.started: list[tuple[str, ...]] = []
        settings = SimpleNamespace(directory=tmp_path, switches=tmp_path / "switches", wait_timeout=1)
        stack: Any = SimpleNamespace(
            settings=settings,
            project=SimpleNamespace(on_swarm=False),
            tool="mlflow-storage",
            candidate="mlflow-candidate",
            copier="mlflow-storage-copy",
            lets_in=lambda container, files: lets_in,
        )
        self.switch = Switch(stack, SimpleNamespace(id="now"))  # type: ignore[arg-type]
        compose = SimpleNamespace(run=lambda *arguments: self.started.append(arguments))
        monkeypatch.setattr(docker, "Compose", lambda directory: compose)
        monkeypatch.setattr(docker, "remove", lambda *names: None)
        monkeypatch.setattr(docker, "wait_until_healthy", lambda *_: None)
        program = SimpleNamespace(wait=lambda: None)
        monkeypatch.setattr(deeds, "Program", lambda container, preload: program)
        monkeypatch.setattr(self.switch, "start", lambda name: None)
        monkeypatch.setattr(self.switch, "_provide_maintenance", lambda: None)


def test_a_candidate_beside_what_serves_leaves_users_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    candidate = Candidate(monkeypatch, tmp_path, lets_in=True)
    candidate.switch.prepare(candidate.switch._record)
    (started,) = candidate.started
    assert _KEEP in started
    assert started[-1] == "mlflow"


def test_where_the_stack_cannot_log_in_mlflow_is_not_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    candidate = Candidate(monkeypatch, tmp_path, lets_in=False)
    with pytest.raises(CutoverError, match="another password of its administrator") as error:
        candidate.switch.prepare(candidate.switch._record)
    assert "restart mlflow" in error.value.remedy


class Driven:
    """A switch of a stack, whose driver notes what it is asked for; `unsteady` is why nothing may begin."""

    def __init__(self, tmp_path: Path, state: str) -> None:
        self.asked: list[str] = []
        # The file of the login that the next servers were described with.
        self.described: list[str] = []
        self.unsteady = ""
        stack: Any = SimpleNamespace(
            settings=SimpleNamespace(
                directory=tmp_path, switches=tmp_path / "switches", stop_jobs=False, wait_timeout=1
            ),
            project=SimpleNamespace(on_swarm=False),
            tool="",
            candidate="",
            trainer="",
            maintenance="",
        )
        store = Store.at("sftp", "proxied", "sftp://me@host:22/a")
        self.record = SwitchRecord(id="now", source=store, target=store, state=state)
        self.switch = Switch(stack, self.record)
        self.switch._driver = SimpleNamespace(  # type: ignore[assignment]
            require_steady=self._require_steady,
            jobs=lambda: self.asked.append("jobs") or [],
            describe_store=self._describe_store,
            forget=lambda directory: self.asked.append(f"forget {directory.name}"),
        )

    def _describe_store(self, following: Path) -> None:
        self.described.append((following / login.DIRECTORY / login.SERVER_FILE).read_text())

    def _require_steady(self, replicas: int, *, closes: bool) -> None:
        self.asked.append(f"steady {replicas} {closes}")
        if self.unsteady:
            raise RefusedError(self.unsteady)


def test_services_that_somebody_changes_meanwhile_are_not_closed(tmp_path: Path) -> None:
    driven = Driven(tmp_path, "copying")
    driven.switch.drain(driven.record)
    assert driven.asked == ["steady 0 True", "jobs"]
    driven.unsteady = "a node is down"
    with pytest.raises(RefusedError, match="a node is down"):
        driven.switch.drain(driven.record)


@pytest.mark.parametrize(
    ("state", "forgets"), [("cutting", False), ("undoing", False), ("done", True), ("undone", True)]
)
def test_what_servers_saw_is_kept_until_nobody_goes_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, forgets: bool
) -> None:
    monkeypatch.setattr(docker, "remove", lambda *names: None)
    driven = Driven(tmp_path, state)
    driven.switch.tidy(driven.record)
    assert driven.asked == (["forget now"] if forgets else [])


def test_a_password_that_was_changed_during_the_copy_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driven = Driven(tmp_path, "copying")
    file = f"{login.DIRECTORY}/{login.SERVER_FILE}"
    for place, word in ((tmp_path, "after"), (driven.switch._directory / "next", "before")):
        (place / file).parent.mkdir(parents=True)
        (place / file).write_text(word)
    monkeypatch.setattr(deeds.Deeds, "save_files", lambda self, record: None)
    driven.switch.save_files(driven.record)
    assert driven.described == ["after"]
