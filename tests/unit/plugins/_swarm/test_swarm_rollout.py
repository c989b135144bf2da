"""Whether a service of a swarm runs as described, is on its way, or was rolled back."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import (
    Progress,
    is_moving,
    progress_of,
    verdict,
)

NEW, OLD = {"Image": "sha256:new"}, {"Image": "sha256:old"}


def service(mode: dict[str, Any] | None = None, update: dict[str, str] | None = None) -> dict[str, Any]:
    template = {"ContainerSpec": NEW, "ForceUpdate": 0}
    shown: dict[str, Any] = {
        "Spec": {"Name": "s", "TaskTemplate": template, "Mode": mode or {"Replicated": {"Replicas": 2}}}
    }
    return {**shown, "UpdateStatus": update} if update else shown


def task(
    state: str = "running",
    desired: str = "running",
    container: Any = None,
    error: str = "",
    at: str = "1",
    node: str = "n1",
) -> dict[str, Any]:
    spec = {"ContainerSpec": container or NEW, "ForceUpdate": 0}
    return {
        "NodeID": node,
        "DesiredState": desired,
        "Spec": spec,
        "Status": {"State": state, "Err": error, "Timestamp": at} if error else {"State": state},
    }


@pytest.mark.parametrize(
    ("tasks", "current"),
    [
        ([task(), task()], 2),
        ([task(), task("starting")], 1),
        # Of the description before, and one that is to end.
        ([task(), task(container=OLD)], 1),
        ([task(), task(desired="shutdown")], 1),
        ([], 0),
    ],
)
def test_tasks_that_run_as_described_count(tasks: list[dict[str, Any]], current: int) -> None:
    progress = progress_of(service(), tasks)
    assert (progress.current, progress.desired) == (current, 2)


def test_what_a_description_says_nothing_of_makes_no_difference() -> None:
    described = service()
    described["Spec"]["TaskTemplate"]["ContainerSpec"] = {
        **NEW,
        "DNSConfig": {},
        "Env": [],
        "Healthcheck": {"Test": []},
    }
    assert progress_of(described, [task(), task()]).current == 2
    described["Spec"]["TaskTemplate"]["ContainerSpec"] = {**NEW, "DNSConfig": {"Nameservers": ["10.0.0.1"]}}
    assert progress_of(described, [task(), task()]).current == 0


@pytest.mark.parametrize(
    ("key", "new", "old", "current"),
    [
        ("Resources", {"Limits": {"MemoryBytes": 2}}, {"Limits": {"MemoryBytes": 1}}, 0),
        ("LogDriver", {"Name": "json-file"}, None, 0),
        ("Networks", [{"Target": "n1"}], [{"Target": "n2"}], 0),
        ("Placement", {"Preferences": [{"Spread": {"SpreadDescriptor": "node.hostname"}}]}, {}, 0),
        # A task stays where it is as long as its node fits, and is of the description all the same.
        ("Placement", {"Constraints": ["node.labels.a == true"]}, None, 2),
        ("Resources", {"Limits": {}}, None, 2),
    ],
)
def test_whatever_a_swarm_starts_tasks_anew_for_decides(key: str, new: Any, old: Any, current: int) -> None:
    described, before = service(), task()
    described["Spec"]["TaskTemplate"][key] = new
    before["Spec"][key] = old
    assert progress_of(described, [before, before]).current == current


def test_a_global_service_has_as_many_as_nodes_may_have_it() -> None:
    progress = progress_of(service({"Global": {}}), [task(), task("starting"), task(desired="shutdown")])
    assert (progress.current, progress.desired) == (1, 2)


PAUSED = {"container": OLD, "node": "n2"}


@pytest.mark.parametrize(
    ("mode", "tasks", "expected"),
    [
        # The swarm has called that update completed.
        ("Global", [task(), task(**PAUSED)], (1, 1, ("n2",))),
        ("Global", [task(container=OLD), task(**PAUSED)], (0, 1, ("n2",))),
        # One of the present description counts, wherever it is, and is waited for.
        ("Global", [task(), task(node="n2")], (2, 2, ())),
        ("Global", [task(), task("starting", node="n2")], (1, 2, ())),
        ("Global", [task(**PAUSED)], (0, 0, ("n2",))),
        # Of a number of tasks, a swarm starts another one elsewhere.
        ("Replicated", [task(), task(**PAUSED)], (1, 2, ())),
    ],
)
def test_a_paused_node_keeps_what_it_has_of_a_global_service(
    mode: str, tasks: list[dict[str, Any]], expected: tuple[int, int, tuple[str, ...]]
) -> None:
    given: dict[str, Any] = {"Global": {}} if mode == "Global" else {"Replicated": {"Replicas": 2}}
    progress = progress_of(service(given), tasks, ["n2"])
    assert (progress.current, progress.desired, progress.kept) == expected
    # Nobody knows of one that is paused.
    assert progress_of(service(given), tasks).kept == ()


def test_what_tasks_ended_with_is_told_once_the_newest_first() -> None:
    ended = [
        task("failed", "shutdown", error=error, at=at)
        for error, at in (("first", "1"), ("second", "2"), ("second", "3"))
    ]
    progress = progress_of(service(update={"State": "paused", "Message": "update paused"}), ended)
    assert progress.errors == ("second", "first")
    assert str(progress) == "s: 0 of 2 run, update paused (update paused; second; first)"


@pytest.mark.parametrize(
    ("current", "update", "touched", "expected"),
    [
        (2, "", True, "settled"),
        (1, "", True, "waiting"),
        (2, "updating", True, "waiting"),
        (2, "completed", True, "settled"),
        (1, "completed", False, "waiting"),
        (2, "rollback_started", True, "waiting"),
        (2, "rollback_completed", True, "failed"),
        # Of an earlier update; what is described now runs.
        (2, "rollback_completed", False, "settled"),
        (2, "paused", False, "failed"),
        (1, "rollback_paused", False, "failed"),
    ],
)
def test_verdict(current: int, update: str, touched: bool, expected: str) -> None:
    assert verdict(Progress("s", current, 2, update), touched) == expected


def test_a_service_that_no_node_may_have_is_waited_for() -> None:
    assert verdict(Progress("s", 0, 0), True) == "waiting"


@pytest.mark.parametrize(
    ("update", "moves"),
    [("updating", True), ("rollback_started", True), ("rollback_completed", False), ("", False)],
)
def test_an_update_that_goes_on_is_seen(update: str, moves: bool) -> None:
    assert is_moving(Progress("s", 1, 2, update)) is moves
