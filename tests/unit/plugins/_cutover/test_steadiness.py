"""Whether a swarm's servers may be changed now."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.steadiness import findings, left
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import Progress

HERE = Node("n1", "one", "manager", "active", "ready")
AWAY = Node("n2", "two", "worker", "drain", "down")


def found(
    *, replicas: int = 3, closes: bool = True, nodes: tuple[Node, ...] = (HERE,), **progress: Any
) -> list[str]:
    seen = Progress(**{"service": "mlflow_mlflow", "current": 3, "desired": 3, **progress})
    return list(findings(seen, nodes, replicas, closes=closes))


@pytest.mark.parametrize("update", ["", "completed", "rollback_completed"])
def test_servers_that_run_may_be_changed(update: str) -> None:
    assert found(update=update) == []


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (
            {"update": "updating", "current": 1},
            "is being updated (updating). Run this again when that has ended",
        ),
        ({"update": "rollback_started"}, "is being updated (rollback_started)"),
        ({"update": "paused"}, "The last update of mlflow_mlflow is paused. Run site.yml"),
        (
            {"desired": 2, "current": 2},
            "has 2 servers, and mlflow_stack_replicas is 3: somebody has scaled it by hand",
        ),
        ({"desired": 0, "current": 0}, "has 0 servers, and mlflow_stack_replicas is 3"),
        (
            {"current": 2, "errors": ("No such image",)},
            "Not all servers run: mlflow_mlflow: 2 of 3 run (No such image)",
        ),
    ],
)
def test_what_is_not_steady_is_told_with_what_to_do(seen: dict[str, Any], said: str) -> None:
    (finding,) = found(**seen)
    assert said in finding


def test_a_number_that_nobody_has_said_is_no_reason() -> None:
    assert found(replicas=0, desired=2, current=2) == []


def test_a_node_that_is_away_might_go_on_with_a_closed_database() -> None:
    (finding,) = found(nodes=(HERE, AWAY))
    assert "The node two (n2) is down: servers that run there would not be ended" in finding
    assert "docker node rm --force n2" in finding
    assert found(nodes=(HERE, AWAY), closes=False) == []


@pytest.mark.parametrize(
    ("state", "node", "goes_on"),
    [
        ("running", "n1", True),
        ("starting", "n1", True),
        # Assigned to a node that may begin with it.
        ("pending", "n1", True),
        ("pending", "", False),
        ("new", "", False),
        *(
            (state, "n1", False)
            for state in ("complete", "shutdown", "failed", "rejected", "remove", "orphaned")
        ),
    ],
)
def test_a_task_that_may_yet_write_is_waited_for(state: str, node: str, goes_on: bool) -> None:
    assert left([{"NodeID": node, "Status": {"State": state}}]) == (["n1"] if goes_on else [])
