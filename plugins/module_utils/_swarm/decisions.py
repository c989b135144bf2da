# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done on each host so that the inventory's swarm is there, or gone, and every reason not to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.findings import (
    every_finding,
    every_warning,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import (
    LABEL,
    MANAGEMENT,
    Host,
    Node,
    endpoint,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.ports import Reach, probes
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import Sight, Wanted


@dataclass(frozen=True)
class Update:
    """What differs at a node that is there.

    Attributes:
        host: The inventory's name.
        node: The node's id.
        role: ``manager`` or ``worker``.
        availability: As wanted; empty to leave it.
        labels: Those to set.
        lines: A line for each difference.
    """

    host: str
    node: str
    role: str
    availability: str
    labels: Mapping[str, str]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What is to be done.

    Attributes:
        findings: Why nothing may be done, a sentence or two each.
        warnings: What is not as it should be, and stops nothing.
        leader: The host that the others are joined through, and on which nodes are changed; empty for none.
        initialise: Whether the leader makes the swarm.
        forms: Whether the swarm is made, taken over or joined.
        labels: The swarm's own labels, as they have to be.
        remotes: Addresses of managers to join through.
        joining: Hosts that join, in order.
        updates: Nodes to change, in order.
        demoted: Ids of managers that become workers before they leave.
        leaving: Hosts that leave, the leader last.
        assumed: Hosts whose engine is to come, of which nothing is known yet.
        lines: All that is to be done, a line each.
    """

    findings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    leader: str = ""
    initialise: bool = False
    forms: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    remotes: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()
    updates: tuple[Update, ...] = ()
    demoted: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def decide(wanted: Wanted, found: Mapping[str, Host | None], reach: Mapping[str, Reach]) -> Decision:
    """Return what is to be done on each host, or every reason why nothing may be.

    Args:
        wanted: The swarm as the inventory describes it.
        found: What each host said; None where it could not be asked.
        reach: What the hosts that were asked about ports said; empty before.
    """
    sight = Sight(wanted, found)
    findings, warnings = tuple(every_finding(sight, reach)), tuple(every_warning(sight))
    if findings:
        return Decision(findings, warnings, leader=sight.leader, assumed=sight.assumed)
    decision = _removal(sight) if wanted.state == "absent" else _presence(sight)
    return Decision(**{**vars(decision), "warnings": warnings, "assumed": sight.assumed})


def probes_of(wanted: Wanted, found: Mapping[str, Host | None]) -> dict[str, dict[str, Any]]:
    """Return what each host is to try of the ports, in the form of mlflow_swarm_reach_info's options.

    Nothing where nobody joins: the nodes of a swarm say themselves whether they reach one another.
    """
    return {} if wanted.state == "absent" else probes(Sight(wanted, found))


def _presence(sight: Sight) -> Decision:
    leader, joining = sight.leader, tuple(name for name in sight.fresh if name != sight.leader)
    host = sight.asked[leader]
    initialise = not host.manages
    labels = {**host.swarm.labels, LABEL: sight.wanted.name}
    updates = tuple(_updates(sight))
    return Decision(
        leader=leader,
        initialise=initialise,
        forms=initialise or bool(joining) or labels != host.swarm.labels,
        labels=labels,
        remotes=_remotes(host),
        joining=joining,
        updates=updates,
        lines=(
            *_lines_of_swarm(sight, initialise),
            *(_line_of_joining(sight, name) for name in joining),
            *(line for update in updates for line in update.lines),
            *_lines_to_come(sight, [*([leader] if initialise else []), *joining]),
        ),
    )


def _remotes(leader: Host) -> tuple[str, ...]:
    known = sorted(each.manager_address for each in leader.nodes or () if each.manager_address)
    return tuple(known) or ((endpoint(leader.address, MANAGEMENT),) if leader.address else ())


def _lines_of_swarm(sight: Sight, initialise: bool) -> Iterator[str]:
    name, leader = sight.wanted.name, sight.asked[sight.leader]
    if initialise:
        yield f"{sight.leader} initialises the swarm {name} at {leader.address or 'an address yet unknown'}."
    elif not sight.is_ours:
        yield f"The swarm {leader.swarm.cluster} is taken over as {name}."


def _line_of_joining(sight: Sight, name: str) -> str:
    address = sight.asked[name].address or "an address yet unknown"
    return f"{name} joins as a {sight.wanted.role_of(name)} at {address}."


def _lines_to_come(sight: Sight, names: Sequence[str]) -> Iterator[str]:
    """What is set on nodes that are yet to be there."""
    for name in names:
        wish = sight.wanted.wishes[name]
        if wish.labels:
            yield f"{name} gets {_shown(wish.labels)}."
        if wish.availability not in ("", "active"):
            yield f"{name} gets the availability {wish.availability}."


def _updates(sight: Sight) -> Iterator[Update]:
    # Managers come first, so that one is made before another is demoted.
    for name, node in sight.members.items():
        wish, role = sight.wanted.wishes[name], sight.wanted.role_of(name)
        labels = {key: value for key, value in wish.labels.items() if node.labels.get(key) != value}
        lines = tuple(_differences(name, node, role, wish.availability, labels))
        if lines:
            yield Update(name, node.id, role, wish.availability or node.availability, labels, lines)


def _differences(
    name: str, node: Node, role: str, availability: str, labels: Mapping[str, str]
) -> Iterator[str]:
    if node.role != role:
        yield f"{name} becomes a {role}."
    if labels:
        yield f"{name} gets {_shown(labels)}."
    if availability not in ("", node.availability):
        yield f"{name} gets the availability {availability}; it has {node.availability}."


def _shown(labels: Mapping[str, str]) -> str:
    texts = ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return f"the label{'s' if len(labels) > 1 else ''} {texts}"


def _removal(sight: Sight) -> Decision:
    members = [name for name in sight.wanted.hosts if name in sight.asked and sight.asked[name].is_node]
    leaving = [name for name in members if name != sight.leader]
    leaving += [sight.leader] if sight.leader in members else []
    demoted = [
        node.id
        for name, node in sight.members.items()
        if node.role == "manager" and name != sight.leader and name in leaving
    ]
    return Decision(
        leader=sight.leader,
        demoted=tuple(demoted),
        leaving=tuple(leaving),
        lines=tuple(f"{name} leaves the swarm." for name in leaving),
    )
