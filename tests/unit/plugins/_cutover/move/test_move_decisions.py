"""What a move of the database is to do, and what it refuses."""

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import Schema
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move import plan
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.decisions import (
    Deployed,
    Options,
    decide,
    require_known_elsewhere,
    require_next,
    to_give_up,
    to_prune,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.look import database_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    Database,
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import database_place
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

FILE = Database(database_place("sqlite"))
SERVICE = Database(database_place("postgresql"))
OWN = Database(database_place("postgresql://me:secret@db.example:5432/mlflow"))
STORE = Store.at("sftp", "direct", "sftp://me@host:22/a")
NOW = "20260301T000000Z"


def move(day: int = 1, **changes: object) -> MoveRecord:
    given = {
        "id": f"2026010{day}T000000Z",
        "source": FILE,
        "target": SERVICE,
        "store": STORE,
        "installed": "abc",
        **changes,
    }
    return MoveRecord(**given)


def switch(day: int = 2, state: str = "done") -> SwitchRecord:
    local = Store.at("local", "direct", "/mlruns")
    return SwitchRecord(id=f"2026010{day}T000000Z", source=local, target=STORE, state=state)


def decided(database: Database, records: list[Record], options: dict[str, object]) -> object:
    given = {"database": SERVICE, "image": "server:1", "installed": "abc", "now": NOW, **options}
    return decide(Deployed(database, STORE, "server:1"), records, Options(**given))


DONE = move(state="done", opened=True)
UNDONE = move(state="undone", opened=True, left={})


@pytest.mark.parametrize(
    ("deployed", "records", "options", "action", "words"),
    [
        (FILE, [], {}, "start", "Move the database from SQLite (sqlite:////var/lib/mlflow/mlflow.db) to the stack's"),
        (FILE, [], {"database": OWN}, "start", "to PostgreSQL (postgresql://db.example:5432/mlflow)"),
        (OWN, [], {"database": FILE}, "start", "Move the database from PostgreSQL (postgresql://db.example"),
        (SERVICE, [], {}, "none", "Nothing to do: MLflow's database is the stack's PostgreSQL already"),
        (FILE, [move(state="planned")], {}, "start", "Move"),
        # It ended while MLflow was closed, so that nothing is left of it.
        (FILE, [move(state="undone")], {}, "start", "Move"),
        (FILE, [UNDONE.updated(pruned=True)], {}, "start", "Move"),
        # What was left is elsewhere.
        (FILE, [UNDONE], {"database": OWN}, "start", "Move"),
        (SERVICE, [DONE.updated(pruned=True)], {"database": FILE}, "start", "Move"),
        (SERVICE, [DONE], {"undo": True}, "rollback", "Undo the move of the database from SQLite"),
        (SERVICE, [switch(1), move(2, state="done")], {"undo": True}, "rollback", "Undo"),
        (FILE, [move(state="cutting")], {"resume": "finish"}, "finish", "Finish the move of the database"),
        (SERVICE, [move(state="opening")], {"resume": "undo"}, "rollback", "Undo the move of"),
        (FILE, [move(state="cutting")], {"check": True}, "start", "Move"),
    ],
)  # fmt: skip
def test_decisions(
    deployed: Database, records: list[Record], options: dict[str, object], action: str, words: str
) -> None:
    decision = decided(deployed, records, options)
    assert decision.action == action
    assert words in str(decision)
    if action == "start":
        assert (decision.record.id, decision.record.state, decision.record.store) == (NOW, "planned", STORE)
        assert (decision.record.source, decision.record.target) == (
            deployed,
            options.get("database", SERVICE),
        )


@pytest.mark.parametrize(
    ("deployed", "records", "options", "words"),
    [
        (SERVICE, [], {"database": OWN}, ["both PostgreSQL", "mlflow_stack_backend_store=sqlite first"]),
        (
            FILE,
            [],
            {"database": Database("sqlite:////var/lib/mlflow/other.db")},
            ["both SQLite", "mlflow_stack_backend_store=postgresql first"],
        ),
        (FILE, [], {"image": "server:2"}, ["runs server:1", "makes server:2", "playbooks/upgrade.yml"]),
        (FILE, [UNDONE], {}, ["the stack's PostgreSQL holds the database", "playbooks/database_prune.yml"]),
        (SERVICE, [DONE], {"database": FILE}, ["sqlite:////var", "undo=true", "playbooks/database_prune.yml"]),
        (FILE, [], {"undo": True}, ["no completed move to undo"]),
        (OWN, [DONE], {"undo": True}, ["led to the stack's PostgreSQL, and MLflow's database is PostgreSQL (p"]),
        (SERVICE, [DONE.updated(pruned=True)], {"undo": True}, ["was removed by", "without undo"]),
        (
            SERVICE,
            [DONE, switch()],
            {"undo": True},
            ["switch from", "after the last move", "the database from before the move", "storage_switch.yml -e undo"],
        ),
        (SERVICE, [DONE], {"undo": True, "installed": "def"}, ["compose.yml or .env has changed since the last move"]),
        (FILE, [], {"resume": "finish"}, ["no interrupted move to finish"]),
        (FILE, [move(state="undoing")], {"resume": "finish"}, ["already being rolled back"]),
        (
            FILE,
            [move(state="cutting", error="no space")],
            {},
            ["move of the database from SQLite", "interrupted while cutting", "no space", "resume=undo"],
        ),
        (FILE, [switch(state="opening")], {}, ["half done", "playbooks/storage_switch.yml -e resume=finish|undo"]),
        (FILE, [], {"database": None}, ["No database is named"]),
    ],
)  # fmt: skip
def test_refusals(
    deployed: Database, records: list[Record], options: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(RefusedError) as refused:
        decided(deployed, records, options)
    assert [word for word in words if word not in str(refused.value)] == []


LIKE = Database(database_place("postgresql://me:secret@postgres:5432/mlflow"), False)


def test_a_database_of_ones_own_may_be_where_the_stacks_would_be() -> None:
    assert SERVICE.is_service
    assert (LIKE == SERVICE, str(LIKE)) == (False, "PostgreSQL (postgresql://postgres:5432/mlflow)")
    assert decided(FILE, [DONE.updated(state="undone")], {"database": LIKE}).action == "start"
    record = move(source=LIKE, target=FILE)
    assert MoveRecord.from_dict(record.as_dict()) == record


@pytest.mark.parametrize(("services", "expected"), [(["mlflow", "postgres"], SERVICE), (["mlflow"], LIKE)])
def test_the_files_say_whose_a_deployed_database_is(services: list[str], expected: Database) -> None:
    uri = "postgresql+psycopg://mlflow:secret@postgres:5432/mlflow"
    stack: Any = SimpleNamespace(database=uri, project=SimpleNamespace(services=services))
    assert database_of(stack) == expected


def test_what_may_be_pruned() -> None:
    gone = move(1, state="done", pruned=True)
    back = move(3, state="done", source=SERVICE, target=FILE)
    records: list[Record] = [gone, switch(), back, move(4, state="undone"), move(5, state="planned")]
    assert to_prune(FILE, records) == [back]
    assert to_prune(FILE, [UNDONE]) == [UNDONE]
    # A backup from before the move was restored by hand: MLflow uses it.
    assert to_prune(FILE, [DONE]) == []
    with pytest.raises(RefusedError, match="half done"):
        to_prune(FILE, [back, move(6, state="opening")])


def test_what_came_in_before_an_undo_goes_with_consent_only() -> None:
    require_known_elsewhere(UNDONE.updated(known={"runs": 3}, left={"runs": 3}))
    for left, words in (({"runs": 5}, "does not: 2 runs"), (None, "nobody knows how much")):
        record = UNDONE.updated(known={"runs": 3}, left=left)
        with pytest.raises(RefusedError, match=f"{words}.*discard=true"):
            require_known_elsewhere(record)


@pytest.mark.parametrize(
    ("deployed", "since", "words"),
    [
        (SERVICE, [], "MLflow's database is the stack's PostgreSQL"),
        (FILE, [move(3)], "move of the database from SQLite .* was begun"),
        (FILE, [switch(4)], "switch from .* was begun"),
    ],
)
def test_a_plan_that_is_stale_is_not_carried_out(deployed: Database, since: list[Record], words: str) -> None:
    planned = move(2)
    with pytest.raises(RefusedError, match=f"Since the move .* was planned.*{words}.*Nothing was changed"):
        require_next(planned, deployed, [move(1, state="undone"), planned, *since])


def test_a_plan_that_is_the_last_word_is_carried_out() -> None:
    require_next(move(2), FILE, [switch(1), move(2)])
    # Half way, MLflow may have either.
    require_next(move(2, state="opening"), SERVICE, [move(2, state="opening")])


REMAINS = move(state="undone", tried=True, remains=True)


def test_a_copy_that_could_not_be_removed_is_left_like_others() -> None:
    assert to_prune(FILE, [REMAINS]) == [REMAINS]
    with pytest.raises(RefusedError, match="holds the database that the move"):
        decided(FILE, [REMAINS], {})
    # Whether it is this move's copy at all, nobody knows.
    unknown = REMAINS.updated(tried=False)
    with pytest.raises(RefusedError, match="nobody knows how much"):
        require_known_elsewhere(unknown)
    assert to_prune(FILE, [REMAINS.updated(pruned=True)]) == []


MADE = move(2, made_volume=True)


@pytest.mark.parametrize(
    ("deployed", "records", "made"),
    [
        (FILE, [MADE], [True]),
        # A move that was refused has made nothing.
        (FILE, [move(1), MADE], [False, True]),
        (FILE, [MADE, switch(3), move(4, state="done", target=OWN)], [True]),
        # The volume is another one by now, whatever became of it.
        (SERVICE, [MADE, move(3, state="done", opened=True)], [False]),
        (FILE, [MADE, move(3, state="undone", opened=True)], [False]),
        (FILE, [move(1, state="undone"), MADE], [True]),
        (SERVICE, [MADE], [False]),
    ],
)
def test_what_a_move_that_ended_before_closing_has_made(
    deployed: Database, records: list[Record], made: list[bool]
) -> None:
    assert [each.made_volume for each in to_give_up(deployed, records)] == made


def schema(state: str = "current") -> Schema:
    return Schema("3.17.2", state, ("aaa",), ("aaa",))


def copy(*problems: dict[str, object]) -> dict[str, object]:
    return {"tables": {"runs": 4_000, "tags": 396_000, "webhooks": 0}, "rows": 400_000, "problems": problems}


def findings(**changes: object) -> plan.Findings:
    given = {
        "schema": schema(),
        "known": {"runs": 4_000, "experiments": 2},
        "bytes": 5 << 20,
        "copy": copy(),
        "free_bytes": 9 << 30,
        "volume": "",
        "restart_seconds": 10,
    }
    return plan.Findings(**{**given, **changes})


def test_the_plan_names_databases_rows_and_downtime() -> None:
    plan.require_movable(move(), findings())
    lines = plan.describe(move(), findings())
    text = "\n".join(lines)
    for words in (
        "From: SQLite (sqlite:////var/lib/mlflow/mlflow.db), 5.0 MiB",
        "To: the stack's PostgreSQL",
        "4000 runs",
        "schema stays aaa",
        "400000, in 2 tables",
        "about 30 s",
        "stays as it is until playbooks/database_prune.yml",
    ):
        assert words in text
    assert lines.index("  tags: 396000") < lines.index("  runs: 4000")


def test_what_is_not_known_before_the_image_is_built_is_said() -> None:
    found = findings(copy=None)
    plan.require_movable(move(), found)
    assert "yet to be built" in "\n".join(plan.describe(move(), found))


NUL = {
    "table": "params",
    "column": "value",
    "reason": "holds a NUL character",
    "rows": 7,
    "keys": [{"key": "a", "run_uuid": "b"}, {"key": "c", "run_uuid": "b"}],
}
FULL = {"table": "", "column": "", "reason": "the target has 1 bytes free", "rows": 0, "keys": []}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": schema("empty")}, "is empty"),
        ({"schema": schema("behind")}, "playbooks/upgrade.yml"),
        ({"schema": Schema("3.17.2", "unknown", ("fff",), ("aaa",))}, "schema fff, which neither"),
        ({"free_bytes": 260 << 20}, "may need 266.0 MiB, and 260.0 MiB are free"),
        ({"volume": "mlflow_postgres"}, "volume mlflow_postgres is there already.*docker volume rm mlflow_postgres"),
        (
            {"copy": copy(NUL, FULL)},
            r"params.value holds a NUL character \(rows: 7, such as key=a run_uuid=b; key=c run_uuid=b\); the target",
        ),
    ],
)  # fmt: skip
def test_plans_that_could_not_succeed(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        plan.require_movable(move(), findings(**changes))
    assert "othing was changed" in str(refused.value)


def test_the_record_is_read_as_it_was_written_and_holds_no_password() -> None:
    record = move(target=OWN, known={"runs": 3}, tried=True)
    assert MoveRecord.from_dict(record.as_dict()) == record
    assert "secret" not in str(record.as_dict())
