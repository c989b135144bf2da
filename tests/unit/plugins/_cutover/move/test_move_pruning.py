"""Removing what a move left: not where somebody uses it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move import pruning
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    Database,
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import read
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import database_place
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

FILE, SERVICE = (Database(database_place(store)) for store in ("sqlite", "postgresql"))
OWN = Database(database_place("postgresql://me@db.example:5432/mlflow"))


class Program:
    """The package's program on a database that holds so many runs."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.calls: list[tuple[str, ...]] = []

    def call(self, *arguments: str) -> dict[str, Any]:
        self.calls.append(arguments)
        counted = {"runs": self.runs}
        return {"state": "current", "database": {"rows": counted}}


def stack(tmp_path: Path) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(switches=tmp_path, directory=tmp_path / "stack"),
        postgres="mlflow-postgres-1",
        planner="mlflow-storage-look",
        database_volume="mlflow_database:/var/lib/mlflow",
        start_tool=lambda *arguments, **options: None,
    )


def moved(source: Database, target: Database, **changes: Any) -> MoveRecord:
    store = Store.at("sftp", "direct", "sftp://me@host:22/a")
    given = {
        "id": "20260101T000000Z",
        "source": source,
        "target": target,
        "store": store,
        "known": {"runs": 3},
    }
    return MoveRecord(**{**given, **changes})


def prune(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, move: MoveRecord, program: Program) -> None:
    @contextlib.contextmanager
    def running(*_: str) -> Iterator[Program]:
        yield program

    (tmp_path / move.id).mkdir(exist_ok=True)
    monkeypatch.setattr(pruning, "running_program", running)
    monkeypatch.setattr(pruning, "uri_before", lambda directory: "before")
    monkeypatch.setattr(pruning, "uri_after", lambda directory: "after")
    pruning.prune(stack(tmp_path), move)


MOVES = {
    "done": moved(FILE, OWN, state="done", opened=True),
    "undone": moved(FILE, OWN, state="undone", opened=True, left={"runs": 3}),
    "remaining": moved(FILE, OWN, state="undone", tried=True, remains=True),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_what_nobody_uses_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, move: MoveRecord
) -> None:
    program = Program(3)
    prune(monkeypatch, tmp_path, move, program)
    assert program.calls[-1] == ("empty-database", "--unused")
    assert read(tmp_path / move.id / "move.json")["pruned"]


@pytest.mark.parametrize(("runs", "told"), [(4, "1 runs"), (1, "2 fewer runs")])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_what_somebody_has_logged_to_since_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, move: MoveRecord, runs: int, told: str
) -> None:
    program = Program(runs)
    with pytest.raises(RefusedError, match=rf", {told} since: somebody uses it"):
        prune(monkeypatch, tmp_path, move, program)
    assert program.calls[-1][0] != "empty-database"


def test_what_a_way_back_could_not_remove_may_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    removed: list[str] = []
    monkeypatch.setattr(pruning.docker, "inspect", lambda name: {"State": {"Running": True}})
    monkeypatch.setattr(pruning.docker, "remove", lambda *names: removed.extend(names))
    for name in ("remove_volume", "remove_network"):
        monkeypatch.setattr(pruning, name, lambda stack, name=name: removed.append(name))
    move = moved(FILE, SERVICE, state="undone", tried=True, remains=True)
    prune(monkeypatch, tmp_path, move, Program(3))
    assert removed == ["mlflow-postgres-1", "remove_volume", "remove_network"]


def test_a_postgresql_that_runs_is_used_by_somebody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pruning.docker, "inspect", lambda name: {"State": {"Running": True}})
    monkeypatch.setattr(pruning.docker, "remove", lambda *names: pytest.fail("it is removed"))
    with pytest.raises(RefusedError, match=r"mlflow-postgres-1 runs.*docker stop mlflow-postgres-1"):
        prune(monkeypatch, tmp_path, moved(SERVICE, FILE, state="done", opened=True), Program(3))


def test_what_cannot_be_removed_does_not_keep_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unreachable = moved(OWN, FILE, state="done", opened=True)
    alone = moved(FILE, OWN, id="20260102T000000Z", state="undone", opened=True, left={"runs": 5})
    full = moved(FILE, OWN, id="20260103T000000Z")
    fine = moved(FILE, SERVICE, id="20260104T000000Z", state="done", opened=True)
    prepared = moved(FILE, SERVICE, id="20260105T000000Z", made_volume=True)
    removed: list[str] = []

    def remove(_: object, move: MoveRecord) -> None:
        if move is unreachable:
            raise CutoverError("db.example does not answer", "Start it")
        if move is full:
            raise OSError(28, "No space left on device", "/stack/move.json")
        removed.append(move.id)

    monkeypatch.setattr(pruning, "prune", remove)
    monkeypatch.setattr(pruning, "give_up", remove)

    def pruned(**options: bool) -> pruning.Pruned:
        return pruning.prune_all(stack(tmp_path), [unreachable, alone, fine], [full, prepared], **options)

    foreseen = pruned(discard=False, check=True)
    assert removed == []
    assert foreseen.message(check=True).startswith("Would be removed: PostgreSQL (postgresql://db.example")
    assert list(foreseen.stays) == [f"{OWN}, left by the {alone.title} begun at {alone.id}"]
    done = pruned(discard=False, check=False)
    assert removed == [fine.id, prepared.id]
    assert done.places == (FILE.place, SERVICE.place)
    told = done.message(check=False)
    assert told.startswith(f"Removed: {FILE}, left by the {fine.title} begun at {fine.id}; what the move")
    for words in (
        "does not answer. Start it.",
        "2 runs. Give it up with -e discard=true.",
        "No space left on device",
    ):
        assert words in told
    assert alone.id in pruned(discard=True, check=True).message(check=True)


def test_nothing_to_prune(tmp_path: Path) -> None:
    nothing = pruning.prune_all(stack(tmp_path), [], [], discard=False, check=False)
    assert nothing.message(check=False).startswith("Nothing to do")
