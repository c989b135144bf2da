# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a swarm's servers may be changed now: nobody else changes them, and what has to end will end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import Progress, is_moving

# Of a task that is over, or that no node has.
_OVER = ("complete", "shutdown", "failed", "rejected", "remove", "orphaned")
_NOWHERE = ("new", "pending", "allocated")


def findings(progress: Progress, nodes: Sequence[Node], replicas: int, *, closes: bool) -> Iterator[str]:
    """Yield a sentence or two for each reason not to begin.

    Args:
        progress: How far the servers are.
        nodes: Of the swarm, as its managers see them.
        replicas: How many servers the inventory asks for; 0 where nobody has said.
        closes: Whether MLflow is to be closed.
    """
    name = progress.service
    if is_moving(progress):
        yield (
            f"The service {name} is being updated ({progress.update}). Run this again when that has ended "
            f"(`docker service ps {name}`)."
        )
    elif progress.update in ("paused", "rollback_paused"):
        yield f"The last update of {name} is {progress.update}. Run site.yml, or `docker service rollback {name}`."
    elif replicas and progress.desired != replicas:
        yield (
            f"{name} has {progress.desired} servers, and mlflow_stack_replicas is {replicas}: somebody has scaled it "
            "by hand. Run site.yml, which brings it to the inventory's number, or correct that."
        )
    elif progress.current < progress.desired:
        yield f"Not all servers run: {progress}. Mend that first: `docker service ps --no-trunc {name}` tells more."
    if closes:
        yield from of_nodes(nodes)


def of_nodes(nodes: Iterable[Node]) -> Iterator[str]:
    """Yield why servers might be left that nobody can end, which would write to a database of the next version."""
    for node in nodes:
        if node.state != "ready":
            yield (
                f"The node {node.hostname} ({node.id}) is {node.state}: servers that run there would not be ended, and "
                "would go on with a database that is not theirs any more. Bring it back; or, where it is gone for "
                f"good, forget it with `docker node demote {node.id}`, if it is a manager, and `docker node rm --force "
                f"{node.id}`."
            )


def left(tasks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the nodes on which tasks of a service have not ended, by id, a node for each task."""
    return [
        str(task.get("NodeID") or "none yet")
        for task in tasks
        if (state := (task.get("Status") or {}).get("State")) not in _OVER
        and not (state in _NOWHERE and not task.get("NodeID"))
    ]
