"""What a restore into a stack is to do, what it gives up, and what it refuses."""

import dataclasses
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import Schema
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore import plan
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.decisions import (
    Options,
    decide,
    given_up,
    require_as_planned,
    require_consent,
    require_no_undo,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.lost import Lost
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import (
    RestoreRecord,
    Snapshot,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.times import readable_age
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

STORE = Store.at("local", "direct", "/mlruns")
SFTP = Store.at("sftp", "direct", "sftp://me@host:22/a")
SNAPSHOT = Snapshot(
    id="6de574a0" * 8,
    time=1_795_809_549.9,
    mlflow="3.13.0",
    schema=("aaa",),
    runs=(20, 21),
    database="sqlite",
    store=STORE,
    has_artifacts=True,
    known={"runs": 20, "metrics": 5},
)
SAME = {"runs": 20, "metrics": 5}


def restore(day: int = 1, **changes: object) -> RestoreRecord:
    given = {"id": f"2026010{day}T000000Z", "store": STORE, "snapshot": SNAPSHOT, **changes}
    return RestoreRecord(**given)


def switch(day: int = 2, state: str = "done") -> SwitchRecord:
    return SwitchRecord(id=f"2026010{day}T000000Z", source=STORE, target=SFTP, state=state)


@pytest.mark.parametrize(
    ("records", "options", "action", "words"),
    [
        ([], {"installed": ""}, "bare", "to this host, which has no stack"),
        ([], {}, "start", "Restore a snapshot into the stack"),
        ([restore(state="planned")], {}, "start", "into the stack"),
        ([restore(state="done")], {}, "start", "into the stack"),
        (
            [restore(state="done", installed="abc")],
            {"undo": True},
            "rollback",
            "Undo the restore of snapshot 6de574a0",
        ),
        (
            [restore(state="cutting")],
            {"resume": "finish"},
            "finish",
            "Finish the restore of snapshot 6de574a0",
        ),
        ([restore(state="opening")], {"resume": "undo"}, "rollback", "Undo the restore"),
        ([restore(state="cutting")], {"check": True}, "start", "into the stack"),
    ],
)
def test_decisions(records: list[Record], options: dict[str, object], action: str, words: str) -> None:
    decision = decide(records, Options(**{"installed": "abc", **options}))
    assert (decision.action, words in str(decision)) == (action, True)
    assert (decision.record is None) == (action in ("bare", "start"))


@pytest.mark.parametrize(
    ("records", "options", "words"),
    [
        ([], {"installed": "", "undo": True}, ["no deployed stack"]),
        ([], {"installed": "", "resume": "finish"}, ["no deployed stack"]),
        ([], {"undo": True}, ["no completed restore to undo"]),
        ([], {"resume": "finish"}, ["no interrupted restore to finish", "--limit"]),
        ([restore(state="done", installed="def")], {"undo": True}, ["compose.yml or .env has changed"]),
        (
            [restore(state="done"), switch()],
            {"undo": True},
            ["after the last restore", "playbooks/storage_switch.yml -e undo=true"],
        ),
        (
            [restore(state="cutting", error="no space")],
            {},
            ["interrupted while cutting", "no space", "resume=finish"],
        ),
        ([switch(state="opening")], {}, ["half done", "playbooks/storage_switch.yml -e resume=finish|undo"]),
    ],
)
def test_refusals(records: list[Record], options: dict[str, object], words: list[str]) -> None:
    with pytest.raises(RefusedError) as refused:
        decide(records, Options(**{"installed": "abc", **options}))
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("known", "now", "told"),
    [
        (SAME, SAME, ""),
        (SAME, {"runs": 22, "metrics": 5}, "2 runs came in since"),
        # An earlier MLflow has no such thing.
        (SAME, {**SAME, "trace_info": 1}, "1 trace info came in since"),
        (SAME, {"runs": 17, "metrics": 5}, "3 runs were removed since, so that more may have come in"),
        (SAME, {"runs": 21, "metrics": 0}, "1 runs came in since; 5 metrics were removed since"),
        ({}, SAME, "Nobody can tell"),
        # A deployment that began anew.
        (SAME, {"experiments": 1, "runs": 0, "metrics": 0}, ""),
        ({}, {"experiments": 1, "runs": 0}, ""),
        (
            SAME,
            {"experiments": 2, "runs": 0, "metrics": 0},
            "2 experiments came in since; 20 runs, 5 metrics were",
        ),
        (SAME, {"experiments": 1, "runs": 1}, "1 experiments came in since; 19 runs, 5 metrics were"),
        (SAME, {}, "20 runs, 5 metrics were removed since, so that more may have come in"),
    ],
)
def test_what_is_given_up(known: dict[str, int], now: dict[str, int], told: str) -> None:
    snapshot = dataclasses.replace(SNAPSHOT, known=known)
    found = given_up(snapshot, now)
    assert found.startswith(told)
    assert bool(found) == bool(told)
    require_consent(restore(snapshot=snapshot, consent=True), now)
    if told:
        with pytest.raises(
            CutoverError, match=r"which the restore of snapshot 6de574a0 .* gives up\. .*discard=true"
        ):
            require_consent(restore(snapshot=snapshot), now)
    else:
        require_consent(restore(snapshot=snapshot), now)


@pytest.mark.parametrize(
    ("record", "others", "installed", "words"),
    [
        (restore(), [], "abc", ""),
        (restore(2), [switch(1)], "abc", ""),
        # Only planned, as it may be given up.
        (restore(), [switch(state="planned"), switch(state="copying")], "abc", ""),
        (restore(), [], "def", "or the servers of a swarm have. The restore would undo that"),
        (restore(), [switch()], "abc", "20260101T000000Z: the switch from /mlruns"),
        (restore(), [switch(state="undone")], "def", "compose.yml or .env has changed"),
        # The next files may be there already, or be the ones from before again.
        (restore(state="opening"), [], "def", ""),
        (restore(state="done"), [switch()], "def", ""),
    ],
)
def test_what_was_deployed_since_the_plan_stops_a_restore(
    record: RestoreRecord, others: list[Record], installed: str, words: str
) -> None:
    record = record.updated(planned_on="abc")
    if not words:
        require_as_planned(record, [record, *others], installed)
        return
    with pytest.raises(RefusedError) as refused:
        require_as_planned(record, [record, *others], installed)
    assert words in str(refused.value)
    assert "Nothing was changed" in str(refused.value)


def test_what_an_undo_needs_is_not_moved() -> None:
    others = [restore(1, state="undone"), restore(2, state="planned"), switch(3)]
    require_no_undo(others, Path("/opt/switches"))
    # What was done since can be undone as well, and then the restore.
    with pytest.raises(
        RefusedError, match=r"at 20260101T000000Z and can be undone.*/opt/switches/20260101T0"
    ):
        require_no_undo([restore(1, state="done"), *others[1:]], Path("/opt/switches"))


def findings(**changes: object) -> plan.Findings:
    given = {
        "schema": Schema("3.17.2", "behind", ("aaa",), ("ccc",), 4),
        "database": "sqlite",
        "known": SAME,
        "bytes": 5 << 20,
        "fetched_bytes": 3 << 20,
        "lacking": {"1/a/b.txt": 1024, "1/a/c.txt": 1024},
        "store_free_bytes": 2048,
        "lost": Lost(),
        "free_bytes": 9 << 30,
        "now": SNAPSHOT.time + 90_000,
        "restart_seconds": 10,
    }
    return plan.Findings(**{**given, **changes})


def test_the_plan_says_what_comes_back_and_what_goes() -> None:
    record, found = restore(), findings(known={"runs": 22, "metrics": 5})
    plan.require_restorable(record, found, check=True)
    text = "\n".join(plan.describe(record, found))
    for words in (
        "snapshot 6de574a0 of 2026-11-27 19:59:09 UTC, 1 d 1 h old: MLflow 3.13.0, 20 to 21 runs",
        "Given up: 2 runs came in since.",
        "refused without -e discard=true",
        "schema aaa becomes ccc, in 4 steps",
        "the store /mlruns lacks: 2, 2.0 KiB, such as 1/a/b.txt; 1/a/c.txt",
        "Every model and table that MLflow knows now has its files in the store or in the snapshot;",
        "the snapshot's are not installed",
        "about 20 s",
    ):
        assert words in text
    consented = "\n".join(plan.describe(restore(consent=True), found))
    assert "refused" not in consented
    assert "kept beside the record" in consented


def test_space_that_is_not_known_is_said_not_to_be() -> None:
    unknown = findings(store_free_bytes=None)
    plan.require_restorable(restore(consent=True), unknown, check=False)
    assert "Nobody can tell what is free there" in "\n".join(plan.describe(restore(), unknown))
    assert "Nobody can tell what" not in "\n".join(plan.describe(restore(), findings()))


def test_the_plan_where_nothing_is_lost_or_lacking() -> None:
    record, found = restore(), findings(lacking={}, schema=Schema("3.17.2", "current", ("ccc",), ("ccc",), 0))
    plan.require_restorable(record, found, check=False)
    text = "\n".join(plan.describe(record, found))
    for words in ("nothing that is counted", "has every artifact", "is the deployed MLflow's, ccc"):
        assert words in text
    without = restore(snapshot=dataclasses.replace(SNAPSHOT, has_artifacts=False))
    assert "The snapshot holds no artifacts" in "\n".join(plan.describe(without, found))


@pytest.mark.parametrize(
    ("record", "changes", "words"),
    [
        (restore(), {"database": "postgresql"}, "is sqlite, and the stack's is postgresql"),
        (
            restore(),
            {"schema": Schema("3.10.1", "unknown", ("fff",), ("ccc",))},
            "schema fff of MLflow 3.13.0, which",
        ),
        (restore(), {"schema": Schema("3.10.1", "unknown", (), ("ccc",))}, "of no revision"),
        (restore(store=SFTP), {}, r"were at /mlruns .direct access., .* are at sftp://me@host:22/a"),
        (restore(), {"free_bytes": 1 << 20}, "1.0 MiB are free"),
        (
            restore(),
            {"volume_free_bytes": 4 << 20},
            "may need 5.0 MiB, and 4.0 MiB are free for its volume, in Docker's directory",
        ),
        (
            restore(),
            {"store_free_bytes": 2047},
            "come back are 2.0 KiB, and 2.0 KiB are free in the store /mlruns",
        ),
        (restore(), {"store_free_bytes": 0}, "0 B are free in the store"),
        (restore(), {"known": {"runs": 22}}, r"2 runs came in since; 5 metrics .*discard=true"),
    ],
)
def test_plans_that_could_not_succeed(record: RestoreRecord, changes: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        plan.require_restorable(record, findings(**changes), check=False)
    assert "Nothing was changed" in str(refused.value)


def test_all_that_is_in_the_way_is_said_at_once() -> None:
    with pytest.raises(RefusedError) as refused:
        plan.require_restorable(
            restore(store=SFTP), findings(database="postgresql", free_bytes=0), check=True
        )
    for words in ("stack's is postgresql", "storage_switch.yml", "Make room"):
        assert words in str(refused.value)


def test_the_record_is_read_as_it_was_written() -> None:
    record = restore(known={"runs": 3}, consent=True, planned_on="abc")
    assert RestoreRecord.from_dict(record.as_dict()) == record


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_725, "1 h 2 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_ages(seconds: float, told: str) -> None:
    assert readable_age(seconds) == told
