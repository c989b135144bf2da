"""What an upgrade is to do, and what it refuses."""

import dataclasses
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import (
    Schema,
    require_current,
    require_same_postgres,
    require_usable,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade import plan
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.decisions import (
    Options,
    decide,
    require_same_on_swarm,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

OLD = Version(image="server:1", postgres_image="postgres:1")
NEW = Version(image="server:2", postgres_image="postgres:1")
STORE = Store.at("sftp", "direct", "sftp://me@host:22/a")
NOW = "20260301T000000Z"


def upgrade(day: int = 1, **changes: object) -> UpgradeRecord:
    given = {"id": f"2026010{day}T000000Z", "source": OLD, "target": NEW, "store": STORE, **changes}
    return UpgradeRecord(**given)


def switch(day: int = 2, state: str = "done") -> SwitchRecord:
    local = Store.at("local", "direct", "/mlruns")
    return SwitchRecord(id=f"2026010{day}T000000Z", source=local, target=STORE, state=state)


@pytest.mark.parametrize(
    ("deployed", "records", "options", "action", "words"),
    [
        (OLD, [], {}, "start", "Upgrade from server:1 to server:2"),
        (NEW, [], {}, "none", "Nothing to do: server:2 runs already"),
        (
            NEW,
            [],
            {"target": Version(image="server:2", postgres_image="postgres:2")},
            "start",
            "Upgrade from",
        ),
        (OLD, [upgrade(state="planned")], {}, "start", "Upgrade from"),
        (OLD, [upgrade(state="undone")], {}, "start", "Upgrade from"),
        (NEW, [upgrade(state="done")], {"undo": True}, "rollback", "Undo the upgrade from server:1"),
        (NEW, [upgrade(state="done"), switch(state="undone")], {"undo": True}, "rollback", "Undo"),
        (NEW, [switch(1), upgrade(2, state="done")], {"undo": True}, "rollback", "Undo"),
        (OLD, [upgrade(state="cutting")], {"resume": "finish"}, "finish", "Finish the upgrade"),
        (NEW, [upgrade(state="opening")], {"resume": "undo"}, "rollback", "Undo the upgrade"),
        (OLD, [upgrade(state="cutting")], {"check": True}, "start", "Upgrade from"),
    ],
)
def test_decisions(
    deployed: Version, records: list[Record], options: dict[str, object], action: str, words: str
) -> None:
    decision = decide(deployed, STORE, records, Options(**{"target": NEW, "now": NOW, **options}))
    assert decision.action == action
    assert words in str(decision)
    if action == "start":
        assert decision.record is not None
        assert decision.record.id == NOW
        assert (decision.record.state, decision.record.store) == ("planned", STORE)


@pytest.mark.parametrize(
    ("deployed", "records", "options", "words"),
    [
        (OLD, [], {"undo": True}, ["no completed upgrade to undo"]),
        (OLD, [upgrade(state="undone")], {"undo": True}, ["no completed upgrade to undo"]),
        (
            Version(image="server:3"),
            [upgrade(state="done")],
            {"undo": True},
            ["led to server:2, and server:3 is deployed", "Restore a backup"],
        ),
        (
            NEW,
            [upgrade(state="done"), switch()],
            {"undo": True},
            ["switch from", "after the last upgrade", "playbooks/storage_switch.yml -e undo=true"],
        ),
        (OLD, [], {"resume": "finish"}, ["no interrupted upgrade to finish", "--limit"]),
        (
            OLD,
            [],
            {"target": Version(image="server:2")},
            ["different databases", "mlflow_stack_backend_store"],
        ),
        (
            NEW,
            [upgrade(state="done", installed="abc")],
            {"undo": True, "installed": "def"},
            ["compose.yml or .env has changed since", "restore a backup"],
        ),
        (
            OLD,
            [upgrade(state="cutting", error="no space")],
            {},
            ["upgrade from", "interrupted while cutting", "no space", "resume=finish", "resume=undo"],
        ),
        (OLD, [upgrade(state="undoing")], {"resume": "finish"}, ["already being rolled back", "resume=undo"]),
        (
            OLD,
            [switch(state="opening")],
            {},
            ["switch from", "half done", "playbooks/storage_switch.yml -e resume=finish|undo"],
        ),
    ],
)
def test_refusals(
    deployed: Version, records: list[Record], options: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(RefusedError) as refused:
        decide(deployed, STORE, records, Options(**{"target": NEW, "now": NOW, **options}))
    assert [word for word in words if word not in str(refused.value)] == []


def schema(state: str, *database: str, **more: object) -> Schema:
    return Schema("3.17.2", state, database or ("aaa",), ("ccc",), **more)


@pytest.mark.parametrize(
    ("found", "deployed_heads", "words"),
    [
        (schema("unknown", "fff"), ("fff",), ["a newer MLflow (fff)", "3.17.2", "undo=true"]),
        (schema("unknown", "fff"), ("aaa",), ["schema fff", "neither", "restore a backup"]),
        (schema("unknown", "fff"), (), ["schema fff", "neither"]),
        (Schema("3.17.2", "unknown", (), ("ccc",)), ("aaa",), ["schema of no revision", "neither"]),
        (schema("several", "aaa", "bbb"), (), ["several revisions (aaa, bbb)", "Restore a backup"]),
        (
            schema("broken", left_over=("_alembic_tmp_runs",)),
            (),
            ["did not end (_alembic_tmp_runs)", "from before that migration"],
        ),
    ],
)
def test_databases_that_no_upgrade_begins_with(
    found: Schema, deployed_heads: tuple[str, ...], words: list[str]
) -> None:
    for require in (require_usable, require_current):
        with pytest.raises(RefusedError) as refused:
            require(found, deployed_heads)
        assert [word for word in words if word not in str(refused.value)] == []
        assert "Nothing was changed" in str(refused.value)


def test_what_site_yml_leaves_to_the_upgrade() -> None:
    require_usable(schema("behind", steps=4), ())
    with pytest.raises(
        RefusedError, match=r"needs .* ccc, and the database has aaa \(4 steps\).*playbooks/upgrade"
    ):
        require_current(schema("behind", steps=4), ())
    with pytest.raises(RefusedError, match=r"PostgreSQL is 15, and the next image has 17.*playbooks/upgrade"):
        require_same_postgres("15", "17")


def test_what_site_yml_goes_on_with() -> None:
    require_current(schema("current", "ccc"), ())
    require_current(schema("current", "ccc", login="current"), ())
    require_current(schema("empty"), ())
    require_same_postgres("15", "15")


def findings(**changes: object) -> plan.Findings:
    given = {
        "schema": schema("behind", steps=4),
        "before": plan.Image("3.13.0", ("aaa",)),
        "after": plan.Image("3.17.2", ("ccc",)),
        "known": {"runs": 14_000, "experiments": 2},
        "bytes": 5 << 20,
        "is_sqlite": True,
        "free_bytes": 9 << 30,
        "restart_seconds": 10,
    }
    return plan.Findings(**{**given, **changes})


def test_the_plan_names_versions_migration_and_downtime() -> None:
    found = findings()
    record = plan.planned(upgrade(), found)
    assert (record.source.mlflow, record.target.mlflow) == ("3.13.0", "3.17.2")
    assert (record.source.revision, record.target.revision) == ("aaa", "ccc")
    text = "\n".join(plan.describe(record, found))
    for words in (
        "From: MLflow 3.13.0",
        "To: MLflow 3.17.2",
        "14000 runs",
        "aaa becomes ccc, in 4 steps",
        "5.0 MiB",
    ):
        assert words in text
    assert "about 30 s" in text


def test_the_plan_of_a_next_postgresql() -> None:
    found = findings(
        schema=schema("current", "ccc"),
        before=plan.Image("3.17.2", ("ccc",), "15", "15", "10002"),
        after=plan.Image("3.17.2", ("ccc",), "17", "17", "10002"),
    )
    target = Version(image="server:2", postgres_image="postgres:2")
    record = plan.planned(upgrade(target=target), found)
    assert record.replaces_cluster
    text = "\n".join(plan.describe(record, found))
    assert "PostgreSQL 15 becomes 17" in text
    with pytest.raises(RefusedError, match=r"of which 2 copies .* free for the database's volume"):
        plan.planned(
            upgrade(target=target), dataclasses.replace(found, is_sqlite=False, volume_free_bytes=1 << 20)
        )
    assert "schema stays ccc" in text


def test_the_plan_of_servers_that_take_each_others_places() -> None:
    # Nothing is backed up, so that room for that is no reason.
    found = findings(schema=schema("current", "ccc"), rolls=True, free_bytes=0)
    record = plan.planned(upgrade(), found)
    assert not record.changes_schema
    text = "\n".join(plan.describe(record, found))
    assert "Nothing is closed: the next servers take the places of the others one after the other." in text
    for words in ("downtime", "backup"):
        assert words not in text


def test_another_schema_is_a_change_of_the_schema() -> None:
    assert plan.planned(upgrade(), findings()).changes_schema


def test_another_schema_of_the_logins_tables_is_one_as_well() -> None:
    """Servers of before could not start again on it."""
    found = findings(schema=schema("current", "ccc", login="behind", login_database=("old",)))
    record = plan.planned(upgrade(), found)
    assert record.changes_schema
    assert UpgradeRecord.from_dict(record.as_dict()).changes_schema
    assert not plan.planned(
        upgrade(), findings(schema=schema("current", "ccc", login="current"))
    ).changes_schema


def test_a_record_of_before_knows_of_no_login() -> None:
    before = upgrade().as_dict()
    del before["changes_login"]
    assert not UpgradeRecord.from_dict(before).changes_schema


def test_a_swarm_keeps_the_major_version_of_its_postgresql() -> None:
    require_same_on_swarm("15", "15")
    with pytest.raises(
        RefusedError, match=r"PostgreSQL is 15, and the next image has 17.*Nothing was changed"
    ):
        require_same_on_swarm("15", "17")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": schema("empty")}, "is empty"),
        ({"schema": schema("broken", left_over=("x",))}, "did not end"),
        ({"free_bytes": 1 << 20}, "1.0 MiB are free"),
        (
            {"volume_free_bytes": 70 << 20},
            "of which 3 copies .* 70.0 MiB are free for the database's volume, in Docker's directory, of which",
        ),
        (
            {"bytes": 9 << 29},
            "9.0 GiB are free for the stack's directory, of which 64.0 MiB have to stay free",
        ),
        (
            {
                "before": plan.Image("3.17.2", (), "17", "17", "10002"),
                "after": plan.Image("3.17.2", (), "17", "15", "10002"),
            },
            "PostgreSQL is 17, and the next image has 15, which is older",
        ),
        (
            {
                "before": plan.Image("3.17.2", (), "17", "17", "10002"),
                "after": plan.Image("3.17.2", (), "17", "18", "10002"),
            },
            "PostgreSQL 18, and the MLflow server's image pg_dump 17",
        ),
        (
            {
                "before": plan.Image("3.17.2", (), "17", "17", "10002"),
                "after": plan.Image("3.17.2", (), "17", "17", "999"),
            },
            "belong to user id 10002, and the next image runs as 999",
        ),
    ],
)
def test_plans_that_could_not_succeed(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        plan.planned(upgrade(), findings(**changes))


def test_the_record_is_read_as_it_was_written() -> None:
    record = plan.planned(upgrade(known={"runs": 3}), findings())
    assert UpgradeRecord.from_dict(record.as_dict()) == record


def test_a_login_whose_tables_the_server_would_migrate_needs_an_upgrade() -> None:
    behind = schema("current", "ccc", login="behind", login_database=("eee",))
    with pytest.raises(RefusedError, match=r"its login's tables .*eee.*Run playbooks/upgrade\.yml"):
        require_current(behind, ())
    require_usable(behind, ())


@pytest.mark.parametrize("require", [require_usable, require_current])
def test_a_login_of_a_newer_mlflow_is_refused(require: Any) -> None:
    with pytest.raises(
        RefusedError, match=r"MLflow's login have the schema fff, which MLflow 3\.17\.2 does not know"
    ):
        require(schema("current", "ccc", login="unknown", login_database=("fff",)), ())


def test_what_the_program_tells_of_a_login() -> None:
    answer = {**schema("current", "ccc").as_dict(), "login": {"state": "behind", "database": ["eee"]}}
    answer.pop("login_database")
    assert (Schema.from_answer(answer).login, Schema.from_answer(answer).login_database) == (
        "behind",
        ("eee",),
    )
    # An earlier version of the image tells nothing.
    answer.pop("login")
    assert Schema.from_answer(answer).login == "none"
