"""What a move does with containers and volumes, on a docker client that only notes what it is asked for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.operations import Move
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    Database,
    MoveRecord,
)
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


def start(monkeypatch: pytest.MonkeyPatch, engine: Engine, move: Move, record: MoveRecord) -> None:
    """Prepare up to where PostgreSQL runs, and fail there."""

    def begin(_: Path) -> None:
        engine.containers.add(POSTGRES)
        engine.volumes.add(VOLUME)
        raise CutoverError("it is not healthy")

    monkeypatch.setattr(move, "_start_postgres", begin)
    with pytest.raises(CutoverError, match="not healthy"):
        move.prepare(record)


def test_what_a_move_has_started_goes_where_it_ends_before_closing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Engine
) -> None:
    move = deeds(tmp_path, moved())
    start(monkeypatch, engine, move, moved())
    move.tidy(moved())
    assert (engine.containers, engine.volumes) == (set(), set())


def test_a_postgresql_that_was_there_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Engine
) -> None:
    engine.containers.add(POSTGRES)
    engine.volumes.add(VOLUME)
    move = deeds(tmp_path, moved())
    start(monkeypatch, engine, move, moved())
    move.tidy(moved())
    assert (engine.containers, engine.volumes) == ({POSTGRES}, {VOLUME})


@pytest.mark.parametrize(("target", "calls"), [(FILE, ["schema", "empty-database"]), (OWN, ["schema"])])
def test_what_a_killed_copy_left_beside_an_empty_file_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: Database, calls: list[str]
) -> None:
    record = moved(SERVICE if target.is_sqlite else FILE, target, state="undoing")
    move, program = deeds(tmp_path, record), Program("empty")
    monkeypatch.setattr(move, "_require_tool", lambda: program)
    assert move.remove_target(record) == ""
    assert program.calls == calls
