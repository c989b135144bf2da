# SPDX-License-Identifier: GPL-3.0-or-later
"""The swarm that the inventory describes, beside the hosts as they are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import LABEL, Host, Node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.serving import Serving

MANAGERS = "swarm_managers"
WORKERS = "swarm_workers"


@dataclass(frozen=True)
class Wish:
    """What the inventory says of one host.

    Attributes:
        address: The one to advertise; empty where the host chooses.
        availability: ``active``, ``pause`` or ``drain``; empty to leave it.
        labels: Of the node, values as they stand in the inventory, which may be no text.
    """

    address: str = ""
    availability: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """The swarm of the inventory.

    Attributes:
        name: How it is known to be ours.
        managers: Hosts that manage it; the first makes it.
        workers: Its further hosts.
        wishes: By host.
        state: ``present`` or ``absent``.
        adopt: Whether a swarm that somebody else has made may be changed, or left.
        remove_services: Whether a swarm may be left whose services run.
        engine_required: Whether an engine must answer by now; otherwise the same run may start one.
        serving: The stack that it is to serve; None for none.
    """

    name: str
    managers: tuple[str, ...]
    workers: tuple[str, ...]
    wishes: Mapping[str, Wish]
    state: str = "present"
    adopt: bool = False
    remove_services: bool = False
    engine_required: bool = True
    serving: Serving | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts, managers first."""
        return tuple(dict.fromkeys([*self.managers, *self.workers]))

    def role_of(self, name: str) -> str:
        """Return ``manager`` or ``worker``."""
        return "manager" if name in self.managers else "worker"


class Sight:
    """What follows from the inventory and the hosts together.

    Args:
        wanted: The inventory's swarm.
        found: What each host said; None where it could not be asked.
    """

    def __init__(self, wanted: Wanted, found: Mapping[str, Host | None]) -> None:
        self.wanted = wanted
        self.found = found
        # Those that could be asked, managers first.
        self.asked = {name: host for name in wanted.hosts if (host := found.get(name))}

    @cached_property
    def unasked(self) -> tuple[str, ...]:
        """Hosts that could not be asked."""
        return tuple(name for name in self.wanted.hosts if name not in self.asked)

    @cached_property
    def assumed(self) -> tuple[str, ...]:
        """Hosts whose engine is to come."""
        if self.wanted.engine_required:
            return ()
        return tuple(name for name, host in self.asked.items() if not host.answers)

    @cached_property
    def manager(self) -> str:
        """The host that can say what the swarm is: of ours before any other; empty for none."""
        managing = [name for name, host in self.asked.items() if host.manages]
        ours = [name for name in managing if self._is_ours(self.asked[name])]
        return next(iter([*ours, *managing]), "")

    @cached_property
    def leader(self) -> str:
        """The host that everything is done through: the one that manages, or the first that can."""
        first = [name for name in self.wanted.managers if name in self.asked]
        return self.manager or next(iter(first), "")

    @cached_property
    def is_ours(self) -> bool:
        """Whether there is a swarm, and it is the inventory's."""
        return bool(self.manager) and self._is_ours(self.asked[self.manager])

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """Nodes of the swarm by id."""
        if not self.manager:
            return {}
        return {node.id: node for node in self.asked[self.manager].nodes or ()}

    @cached_property
    def members(self) -> Mapping[str, Node]:
        """Nodes by the names of their hosts, managers of the inventory first."""
        return {
            name: self.nodes[host.swarm.node]
            for name, host in self.asked.items()
            if host.is_node and host.swarm.node in self.nodes
        }

    @cached_property
    def fresh(self) -> tuple[str, ...]:
        """Hosts that are in no swarm."""
        return tuple(name for name, host in self.asked.items() if not host.is_node)

    @cached_property
    def strangers(self) -> tuple[Node, ...]:
        """Nodes that no host of the inventory has; none while some could not be asked, whose they may be."""
        if self.unasked:
            return ()
        own = {node.id for node in self.members.values()}
        return tuple(node for node in self.nodes.values() if node.id not in own)

    def _is_ours(self, host: Host) -> bool:
        return host.swarm.labels.get(LABEL) == self.wanted.name
