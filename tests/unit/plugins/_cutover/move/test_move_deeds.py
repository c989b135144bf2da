"""What a move does with containers and volumes, on a docker client that only notes what it is asked for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move import pruning
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.operations import Move
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    Database,
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import read, write
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import database_place
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

FILE, SERVICE = (Database(database_place(store)) for store in ("sqlite", "postgresql"))
OWN = Database(database_place("postgresql://me@db.example:5432/mlflow"))
POSTGRES, VOLUME = "mlflow-postgres-1", "mlflow_postgres"


class Engine:
    """What the Docker host has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.containers: set[str] = set()
        self.volumes: set[str] = set()
        monkeypatch.setattr(
            docker, "inspect", lambda name: {"State": {}} if name in self.containers else None
        )
        monkeypatch.setattr(docker, "has", lambda kind, name: kind == "volume" and name in self.volumes)
        monkeypatch.setattr(docker, "remove", lambda *names: self.containers.difference_update(names))
        monkeypatch.setattr(docker, "run", self._run)

    def _run(self, *arguments: str, **_: object) -> str:
        assert arguments[:2] == ("volume", "rm"), arguments
        self.volumes.remove(arguments[2])
        return ""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def moved(source: Database = FILE, target: Database = SERVICE, **changes: Any) -> MoveRecord:
    store = Store.at("sftp", "direct", "sftp://me@host:22/a")
    return MoveRecord(id="20260101T000000Z", source=source, target=target, store=store, **changes)


def deeds(tmp_path: Path, record: MoveRecord) -> Move:
    settings = SimpleNamespace(directory=tmp_path, switches=tmp_path / "switches", wait_timeout=1)
    (settings.switches / record.id / "next/postgres").mkdir(parents=True, exist_ok=True)
    stack = SimpleNamespace(
        settings=settings,
        project=SimpleNamespace(services=(), on_swarm=False),
        postgres=POSTGRES,
        postgres_volume=VOLUME,
        database_network="mlflow_database",
        **{name: f"mlflow-{name}" for name in ("tool", "candidate", "trainer", "maintenance")},
    )
    return Move(stack, record)  # type: ignore[arg-type]


class Program:
    """The package's program, whose database is in a state."""

    def __init__(self, state: str) -> None:
        self._state = state
        self.calls: list[str] = []

    def call(self, command: str, *_: str, **__: object) -> dict[str, Any]:
        self.calls.append(command)
        return {"state": self._state}


def written(tmp_path: Path) -> MoveRecord:
    return MoveRecord.from_dict(read(tmp_path / "switches/20260101T000000Z/move.json"))


def test_a_volume_of_somebody_else_stands_in_the_way_of_one_only(tmp_path: Path, engine: Engine) -> None:
    assert deeds(tmp_path, moved()).lacks_volume(moved())
    engine.volumes.add(VOLUME)
    with pytest.raises(
        CutoverError, match=r"mlflow_postgres is there already.*docker volume rm mlflow_postgres"
    ):
        deeds(tmp_path, moved()).lacks_volume(moved())
    assert not deeds(tmp_path, moved(SERVICE, FILE)).lacks_volume(moved(SERVICE, FILE))


@pytest.mark.parametrize("made", [True, False])
def test_a_move_that_ends_before_closing_gives_up_what_it_has_made(
    tmp_path: Path, engine: Engine, made: bool
) -> None:
    engine.containers.add(POSTGRES)
    engine.volumes.add(VOLUME)
    record = moved(made_volume=made)
    deeds(tmp_path, record).tidy(record)
    there = (set[str](), set[str]()) if made else ({POSTGRES}, {VOLUME})
    assert (engine.containers, engine.volumes) == there
    if made:
        assert not written(tmp_path).made_volume


def test_what_cannot_be_given_up_is_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Engine
) -> None:
    def busy(*_: str) -> None:
        raise CutoverError("the volume is in use")

    engine.volumes.add(VOLUME)
    record = moved(made_volume=True)
    move = deeds(tmp_path, record)
    monkeypatch.setattr(docker, "run", busy)
    move.tidy(record)
    noted = written(tmp_path)
    assert (noted.made_volume, "the volume is in use" in noted.left_behind) == (True, True)


@pytest.mark.parametrize(("target", "calls"), [(FILE, ["schema", "empty-database"]), (OWN, ["schema"])])
def test_what_a_killed_copy_left_beside_an_empty_file_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Database, calls: list[str]
) -> None:
    record = moved(SERVICE if target.is_sqlite else FILE, target, state="undoing")
    move, program = deeds(tmp_path, record), Program("empty")
    monkeypatch.setattr(move, "_require_tool", lambda: program)
    assert move.remove_target(record) == ""
    assert program.calls == calls


@pytest.mark.parametrize(("made", "left"), [(True, set()), (False, {VOLUME})])
def test_what_a_killed_move_has_prepared_is_found_and_removed_once(
    tmp_path: Path, engine: Engine, made: bool, left: set[str]
) -> None:
    record = moved(made_volume=made)
    stack = deeds(tmp_path, record)._stack
    stack.database = "sqlite:////var/lib/mlflow/mlflow.db"
    write(record, tmp_path / "switches" / record.id)
    (tmp_path / "switches" / record.id / "after.env").write_text("MLFLOW_BACKEND_STORE_URI=secret\n")
    engine.containers.add("mlflow-maintenance")
    engine.volumes.add(VOLUME)
    (found,) = pruning.ended_early(stack)
    assert found.made_volume == made
    pruning.give_up(stack, found)
    assert (engine.containers, engine.volumes) == (set(), left)
    assert sorted(path.name for path in (tmp_path / "switches" / record.id).iterdir()) == ["move.json"]
    assert pruning.ended_early(stack) == []


def test_what_cannot_be_removed_of_it_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Engine
) -> None:
    def busy(*_: str) -> None:
        raise CutoverError("the volume is in use")

    record = moved(made_volume=True)
    stack = deeds(tmp_path, record)._stack
    write(record, tmp_path / "switches" / record.id)
    engine.volumes.add(VOLUME)
    monkeypatch.setattr(docker, "run", busy)
    with pytest.raises(CutoverError, match="could not be removed: the volume is in use"):
        pruning.give_up(stack, record)
