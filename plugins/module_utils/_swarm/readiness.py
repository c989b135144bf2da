# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to hold right before services change: images on each node that may run one, and the database's volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import MANAGERS, WORKERS

_UNCHANGED = "No service has been changed."


@dataclass(frozen=True)
class Holder:
    """A host of the inventory that could be asked.

    Attributes:
        name: The inventory's.
        node: Id of its node.
        images: Whether it has all images of the stack.
        volume: Whether it has the volume of the stack's database.
    """

    name: str
    node: str
    images: bool
    volume: bool


@dataclass(frozen=True)
class Pin:
    """Where the database of a stack's own service runs.

    Attributes:
        label: Of its node.
        volume: Name of its volume.
        begins: Whether nothing was deployed yet, so that it begins empty unless a node has its volume.
        given_up: Whether somebody says that it is to begin anew, whatever a volume holds.
    """

    label: str
    volume: str
    begins: bool
    given_up: bool = False


def runs_tasks(node: Node) -> bool:
    """Whether a swarm may start something there."""
    return node.state == "ready" and node.availability == "active"


def closed_home(name: str, availability: str, node: str = "") -> Iterator[str]:
    """Say why containers of the stack's home would not get into the swarm's networks; nothing where they do.

    Args:
        name: The home's.
        availability: The one that it has, or is to have.
        node: Id of its node; empty where there is none yet.
    """
    if availability != "active":
        by_hand = f", or run `docker node update --availability active {node}` on it" if node else ""
        yield (
            f"{name} is the stack's home, and its availability is {availability}: a swarm lets no container of that "
            "node into its networks, and playbooks and jobs ask database and servers from there. Set "
            f"docker_swarm_availability of the home to active{by_hand}."
        )


def has_label(node: Node, label: str) -> bool:
    """Whether a node has a label; without a label, each has it."""
    return not label or node.labels.get(label) == "true"


def gateways_of(nodes: Sequence[Node], label: str) -> list[str]:
    """Return ids of the nodes that have to have a gateway.

    Args:
        nodes: As the managers see them.
        label: Which nodes have one; empty for all.
    """
    return [node.id for node in nodes if runs_tasks(node) and has_label(node, label)]


def unready(nodes: Sequence[Node], holders: Sequence[Holder], pin: Pin | None) -> Iterator[str]:
    """Yield a sentence or two for each reason why no service may change.

    Args:
        nodes: As the managers see them; none where the stack's home manages no swarm.
        holders: Hosts of the inventory that could be asked.
        pin: Of the database; None where it is no service of the stack.
    """
    if not nodes:
        yield (
            "The stack's home manages no swarm, or one without a quorum. site.yml without --tags forms it, or says why "
            f"it cannot. {_UNCHANGED}"
        )
    names = {each.node: each.name for each in holders}
    given = {each.node for each in holders if each.images}
    for node in nodes:
        if runs_tasks(node) and node.id not in given:
            yield (
                f"{names.get(node.id, node.hostname)} ({node.id}) is a ready and active node of the swarm, and could "
                "not be given the images, so that servers that the swarm starts there would find none. Let it be a "
                f"host of {MANAGERS} or {WORKERS}, reachable and within --limit; or take tasks away from it: `docker "
                f"node update --availability drain {node.id}` on a manager. {_UNCHANGED}"
            )
    if pin and not pin.given_up and _was_deployed(holders, pin):
        yield from _of_volume(nodes, holders, pin)


def _was_deployed(holders: Sequence[Holder], pin: Pin) -> bool:
    # A home that has lost its files does not know of it; whoever has the volume does.
    return not pin.begins or any(each.volume for each in holders)


def _of_volume(nodes: Sequence[Node], holders: Sequence[Holder], pin: Pin) -> Iterator[str]:
    labelled = {node.id for node in nodes if has_label(node, pin.label)}
    owners = ", ".join(each.name for each in holders if each.volume)
    for each in holders:
        if each.node in labelled and not each.volume:
            yield (
                f"{each.name} has the label {pin.label}, and lacks the volume {pin.volume} of the stack's database, "
                f"which is on {owners or 'no node that could be asked'}: the database would begin empty. Put the "
                "label back to the node that has the volume, or bring the volume's content over while no server "
                "runs. Only if its runs are given up, mlflow_stack_backend_store_switch=true begins anew. "
                f"{_UNCHANGED}"
            )
