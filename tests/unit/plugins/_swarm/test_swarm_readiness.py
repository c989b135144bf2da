"""What has to hold right before services of a swarm change, and which nodes have a gateway."""

from dataclasses import asdict
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.mlflow_swarm_serving import (
    mlflow_swarm_closed_home,
    mlflow_swarm_gateways,
    mlflow_swarm_unready,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node

PIN = {"label": "db", "volume": "mlflow_swarm_postgres", "begins": False}


def node(number: int, availability: str = "active", state: str = "ready", **labels: str) -> dict[str, Any]:
    return asdict(Node(f"n{number}", f"h{number}", "worker", availability, state, labels=labels))


def holder(number: int, images: bool = True, volume: bool = False) -> dict[str, Any]:
    return {"name": f"host{number}", "node": f"n{number}", "images": images, "volume": volume}


def test_nodes_that_have_everything_are_ready() -> None:
    nodes = [node(1), node(2, db="true")]
    assert mlflow_swarm_unready(nodes, [holder(1), holder(2, volume=True)], PIN) == []
    assert mlflow_swarm_unready(nodes, [holder(1), holder(2)], None) == []
    # A first deployment, one that finds the volume where it is to be, or a database that somebody gives up.
    assert mlflow_swarm_unready(nodes, [holder(1), holder(2)], {**PIN, "begins": True}) == []
    assert mlflow_swarm_unready(nodes, [holder(1), holder(2, volume=True)], {**PIN, "begins": True}) == []
    for begins in (False, True):
        pin = {**PIN, "begins": begins, "given_up": True}
        assert mlflow_swarm_unready(nodes, [holder(1, volume=True), holder(2)], pin) == []


def test_a_swarm_that_no_part_of_the_run_has_formed() -> None:
    (finding,) = mlflow_swarm_unready([], [holder(1)], PIN)
    assert "manages no swarm" in finding
    assert "site.yml without --tags forms it" in finding


@pytest.mark.parametrize(
    ("nodes", "holders", "words"),
    [
        # Of no host of the inventory, or outside of --limit.
        ([node(1), node(2)], [holder(1)], ["h2 (n2) is a ready and active node"]),
        # That could not be given them.
        ([node(1), node(2)], [holder(1), holder(2, images=False)], ["host2 (n2) is a ready and active node"]),
        ([node(1), node(2), node(3)], [holder(1)], ["h2 (n2)", "h3 (n3)"]),
        ([node(1), node(2, "drain"), node(3, "pause"), node(4, state="down")], [holder(1)], []),
    ],
)
def test_a_node_that_may_run_what_it_has_no_image_of(nodes: Any, holders: Any, words: list[str]) -> None:
    findings = mlflow_swarm_unready(nodes, holders, None)
    assert len(findings) == len(words)
    assert all(word in finding for word, finding in zip(words, findings, strict=True))
    assert all("No service has been changed" in finding for finding in findings)


@pytest.mark.parametrize(
    ("holders", "begins", "words"),
    [
        # The label moved from the first to the second.
        ([holder(1, volume=True), holder(2)], False, "which is on host1: the database would begin empty"),
        # And the home with all that it knew of a deployment was lost.
        ([holder(1, volume=True), holder(2)], True, "which is on host1: the database would begin empty"),
        # The node was built anew, or the one that had the volume is off.
        ([holder(1), holder(2)], False, "which is on no node that could be asked"),
    ],
)
def test_a_database_that_would_begin_empty(holders: Any, begins: bool, words: str) -> None:
    (finding,) = mlflow_swarm_unready(
        [node(1), node(2, db="true")], holders, {**PIN, "begins": begins, "given_up": False}
    )
    assert "host2 has the label db, and lacks the volume mlflow_swarm_postgres" in finding
    assert words in finding


@pytest.mark.parametrize(
    ("label", "ids"),
    [("", ["n1", "n2"]), ("edge", ["n2"]), ("nobody", [])],
)
def test_a_drained_node_has_no_gateway_and_a_label_by_hand_counts(label: str, ids: list[str]) -> None:
    nodes = [node(1), node(2, edge="true"), node(3, "drain", edge="true"), node(4, state="down", edge="true")]
    assert mlflow_swarm_gateways(nodes, label) == ids


@pytest.mark.parametrize(
    ("own", "closed"), [("n1", False), ("n2", True), ("n3", True), ("n4", False), ("", False)]
)
def test_containers_of_a_home_that_is_not_active_reach_no_server(own: str, closed: bool) -> None:
    nodes = [node(1), node(2, "drain"), node(3, "pause"), node(4, state="down")]
    findings = mlflow_swarm_closed_home({"nodes": nodes, "swarm": {"node": own}}, "one")
    assert len(findings) == closed
    assert all(f"`docker node update --availability active {own}`" in each for each in findings)
    # Of a host that manages no swarm.
    assert mlflow_swarm_closed_home({"nodes": None, "swarm": {"node": own}}, "one") == []
