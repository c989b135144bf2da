"""The plan of a switch: refusals, and what people read."""

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.capacity import Amount, Place
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch import plan
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import (
    SwitchRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

LOCAL = Store.at("local", "direct", "/mlruns")
SFTP = Store.at("sftp", "direct", "sftp://me@host:22/a")
RECORD = SwitchRecord(id="20260101T000000Z", source=LOCAL, target=SFTP)
BLOCKED = {
    "table": "runs",
    "column": "artifact_uri",
    "key": {"run_uuid": "abc"},
    "value": "/mlruns/x",
    "reason": "longer than 200 characters",
    "ambiguous": False,
}
ROWS: dict[str, Any] = {
    "rows_to_move": 20_000,
    "tables": {"runs.artifact_uri": {"move": 3, "blocked": 1}, "experiments.artifact_location": {}},
    "blocked": [],
    "directories": ["1", "2"],
    "already_moved": ["3/b"],
    "places_after": ["sftp://me@host:22", "sftp://other@host:22"],
    "report_only": {"tags.value": 2},
}
FILES: dict[str, Any] = {
    "copied": {"files": 7, "bytes": 3 << 20},
    "equal": {"files": 2, "bytes": 10},
    "failed": {},
    "unreadable_names": 0,
    "seconds": 1.25,
}
FOUND = plan.Findings(
    database={
        "counts": {
            "experiments": {"total": 2},
            "runs": {"total": 4, "deleted": 1},
            "trace_info": {"total": 5},
        },
        "places": [{"place": "local"}],
    },
    source={"files": 9, "bytes": 4096, "free_bytes": 1},
    target={"files": 2, "bytes": 10, "free_bytes": 10 << 20},
    rows=ROWS,
    files=FILES,
    restart_seconds=20,
)


def test_the_record_knows_what_the_next_files_depend_on() -> None:
    assert plan.planned(RECORD, FOUND).accounts == ("sftp://other@host:22",)
    assert plan.planned(RECORD, replace(FOUND, rows=None)).accounts == ()


def test_what_moves_is_narrowed_to_the_experiments() -> None:
    narrowed = plan.narrowed(RECORD, ROWS)
    assert (narrowed.directories, narrowed.already_moved) == ((), ("3/b",))
    assert plan.narrowed(replace(RECORD, experiments=(1,)), ROWS).directories == ("1", "2")
    assert plan.narrowed(RECORD, None) == RECORD


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            replace(FOUND, rows={**ROWS, "blocked": [BLOCKED] * 5}),
            [
                "5 locations cannot move, so nothing was changed",
                "runs.artifact_uri (run_uuid abc) = /mlruns/x: longer",
            ],
        ),
        (
            replace(FOUND, files={**FILES, "unreadable_names": 1, "failed": {"1/50%25": "its name"}}),
            [
                "could not read 1 files back, so nothing was changed. First: 1/50%25",
                "Rename or remove them at /mlruns",
            ],
        ),
        (
            replace(FOUND, target={"free_bytes": 1 << 20}),
            [
                "sftp://me@host:22/a has 1.0 MiB free, and 3.0 MiB are to be copied. Nothing was changed",
                "Make room",
            ],
        ),
        (
            replace(
                FOUND,
                target={"free_bytes": 10 << 20, "total_bytes": 100 << 20},
                refuse=Amount(fraction=0.08),
            ),
            [
                "has 10.0 MiB free, of which 8.0 MiB have to stay free (mlflow_stack_capacity_refuse), and 3.0 MiB",
            ],
        ),
        (
            replace(FOUND, target={"free_bytes": None, "bytes": 98 << 20}, quota_bytes=100 << 20),
            ["has 2.0 MiB free by its quota, and 3.0 MiB are to be copied"],
        ),
        (
            replace(
                FOUND,
                database={**FOUND.database, "bytes": 5 << 20},
                host=Place("the stack's directory", 4 << 20, 100 << 20),
            ),
            [
                "the stack's directory: 4.0 MiB of 100.0 MiB free, of which 64.0 MiB have to stay free, and the "
                "backup of the database needs 5.0 MiB"
            ],
        ),
    ],
)
def test_what_cannot_succeed_is_refused(found: plan.Findings, words: list[str]) -> None:
    with pytest.raises(RefusedError) as refused:
        plan.planned(RECORD, found)
    assert [word for word in words if word not in str(refused.value)] == []


def test_experiments_that_own_nothing_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"belongs to the experiments 7\. Nothing was changed"):
        plan.narrowed(replace(RECORD, experiments=(7,)), {**ROWS, "directories": []})


def test_a_full_host_does_not_refuse_what_makes_room() -> None:
    host = Place("the stack's directory", 70 << 20, 100 << 30)
    plan.planned(RECORD, replace(FOUND, host=host, refuse=Amount(fraction=0.05)))


def test_no_reserve_refuses_the_way_back() -> None:
    host, target = (
        Place("the stack's directory", 0, 100 << 30),
        {"free_bytes": 3 << 20, "total_bytes": 1 << 30},
    )
    found = replace(FOUND, host=host, target=target, refuse=Amount(fraction=0.05))
    plan.planned(replace(RECORD, undoes="20260101T000000Z"), found)
    with pytest.raises(RefusedError, match="Nothing was changed"):
        plan.planned(RECORD, found)


@pytest.mark.parametrize("free", [None, 3 << 20])
def test_unknown_space_is_not_none(free: int | None) -> None:
    plan.planned(RECORD, replace(FOUND, target={"free_bytes": free}))


def test_a_row_that_may_be_meant_is_shown_and_moves_nothing() -> None:
    ambiguous = replace(FOUND, rows={**ROWS, "blocked": [{**BLOCKED, "ambiguous": True}]})
    plan.planned(RECORD, ambiguous)
    assert any(line.startswith("Cannot move: runs.artifact_uri") for line in plan.describe(RECORD, ambiguous))


def test_the_plan_as_people_read_it() -> None:
    assert plan.describe(RECORD, FOUND) == [
        "From: /mlruns (direct access)",
        "To: sftp://me@host:22/a (direct access)",
        "MLflow knows 2 experiments, 4 runs (1 deleted), 5 traces.",
        "The present store holds 9 files, 4.0 KiB.",
        "To copy: 7 files, 3.0 MiB; to compare: 2 files that are there already.",
        "Free space at the new store: 10.0 MiB.",
        "Locations to change: 20000.",
        "  runs.artifact_uri: 1 blocked, 3 move",
        "Mentioned, and left as it is: 2 times in tags.value",
        "Expected downtime: about 23 s (restart 20 s, another look at both stores 1.2 s).",
    ]


def test_the_plan_of_what_moves_no_file() -> None:
    proxied = Store.at("sftp", "proxied", SFTP.uri)
    lines = plan.describe(
        replace(RECORD, source=SFTP, target=proxied), replace(FOUND, target=None, files=None)
    )
    assert "The store stays the same; only how it is reached changes." in lines
    lines = plan.describe(replace(RECORD, migrate="none"), replace(FOUND, target=None, files=None, rows=None))
    assert "To copy: nothing (migrate=none). Old runs stay where they are and are read from there." in lines
    assert "Locations to change: none; they lead to the proxy before and after." in lines
    assert any("not known" in line for line in lines)
