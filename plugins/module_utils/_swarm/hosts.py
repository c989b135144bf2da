# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as they are found: their engine, and the swarm that it is in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import bracketed

# On the swarm itself: the name of the inventory's swarm that it is.
LABEL = "freegee.mlflow_sftp.swarm"
# On a service: the directory of the stack that it was made for.
OWNER = "freegee.mlflow_sftp.owner"
MANAGEMENT = 2377


@dataclass(frozen=True)
class Swarm:
    """What an engine says of its swarm.

    Attributes:
        state: ``inactive``, ``pending``, ``active``, ``error`` or ``locked``.
        node: Id of the engine's own node; empty for none.
        address: Where it says that others reach it.
        manager: Whether it manages the swarm.
        managers: Addresses of the managers that it knows, with port.
        error: What it complains of.
        cluster: Id of the swarm; empty where it is no manager, or the managers have no quorum.
        labels: Of the swarm itself.
    """

    state: str = "inactive"
    node: str = ""
    address: str = ""
    manager: bool = False
    managers: tuple[str, ...] = ()
    error: str = ""
    cluster: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """A node as the managers see it.

    Attributes:
        id: Its id.
        hostname: As its engine says it, which need not be the inventory's name.
        role: ``manager`` or ``worker``.
        availability: ``active``, ``pause`` or ``drain``.
        state: ``ready``, ``down``, ``disconnected`` or ``unknown``.
        manager_address: Where it manages, with port; empty for a worker.
        labels: Its labels.
    """

    id: str
    hostname: str
    role: str
    availability: str
    state: str
    manager_address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """What a host says.

    Attributes:
        engine: ``absent``, ``silent`` or ``answers``.
        said: What was said instead of an answer.
        engine_id: Id of the engine, the same wherever it is asked.
        version: Of the engine.
        architecture: Of the engine.
        python: The interpreter that the modules of community.docker run with.
        sdk: Whether it has the Docker SDK.
        address: The one to advertise; empty where there is none to choose.
        addresses: All of the host.
        mtu: Of the interface with `address`; None where it is not known.
        swarm: The swarm that the engine is in.
        nodes: The swarm's nodes; None where it is no manager, or the managers have no quorum.
        services: Names of the swarm's services; None as for `nodes`.
        owners: The directory that each of them was made for, empty for none; by name.
        taken: Ports among those asked about that something listens on, with what is known of it; by number.
        published: Those of them that a container of a swarm's service has, with the service's name; by number.
    """

    engine: str = "answers"
    said: str = ""
    engine_id: str = ""
    version: str = ""
    architecture: str = ""
    python: str = "/usr/bin/python3"
    sdk: bool = True
    address: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int | None = None
    swarm: Swarm = field(default_factory=Swarm)
    nodes: tuple[Node, ...] | None = None
    services: tuple[str, ...] | None = None
    owners: Mapping[str, str] = field(default_factory=dict)
    taken: Mapping[int, str] = field(default_factory=dict)
    published: Mapping[int, str] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether there is an engine that can be asked."""
        return self.engine == "answers"

    @property
    def is_node(self) -> bool:
        """Whether its engine is in a swarm, or believes so."""
        return self.swarm.state != "inactive"

    @property
    def manages(self) -> bool:
        """Whether it can say what the swarm is, and change it."""
        return self.swarm.manager and bool(self.swarm.cluster)


def swarm_of(info: Mapping[str, Any]) -> Swarm:
    """Return what ``docker info``, as JSON, says of the swarm."""
    shown = info.get("Swarm") or {}
    cluster = shown.get("Cluster") or {}
    managers = shown.get("RemoteManagers") or ()
    return Swarm(
        shown.get("LocalNodeState") or "inactive",
        shown.get("NodeID") or "",
        shown.get("NodeAddr") or "",
        bool(shown.get("ControlAvailable")),
        tuple(sorted(each["Addr"] for each in managers)),
        shown.get("Error") or "",
        cluster.get("ID") or "",
        (cluster.get("Spec") or {}).get("Labels") or {},
    )


def node_of(shown: Mapping[str, Any]) -> Node:
    """Return a node from what ``docker node inspect`` says."""
    spec = shown["Spec"]
    return Node(
        shown["ID"],
        (shown.get("Description") or {}).get("Hostname") or "",
        spec["Role"],
        spec["Availability"],
        (shown.get("Status") or {}).get("State") or "unknown",
        (shown.get("ManagerStatus") or {}).get("Addr") or "",
        spec.get("Labels") or {},
    )


def owners_of(shown: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return by name the directory that each service was made for, from what ``docker service inspect`` says."""
    specs = [each["Spec"] for each in shown]
    return {spec["Name"]: (spec.get("Labels") or {}).get(OWNER, "") for spec in specs}


def host_of(told: Mapping[str, Any] | None) -> Host | None:
    """Return a host from what mlflow_swarm_info said; None where it said nothing."""
    if not told or "engine" not in told:
        return None
    given = {name: told[name] for name in Host.__dataclass_fields__ if name in told}
    swarm = dict(told.get("swarm") or {})
    if "managers" in swarm:
        swarm["managers"] = tuple(swarm["managers"])
    nodes, services = told.get("nodes"), told.get("services")
    given["swarm"] = Swarm(**swarm)
    given["addresses"] = tuple(told.get("addresses") or ())
    given["nodes"] = None if nodes is None else tuple(Node(**each) for each in nodes)
    given["services"] = None if services is None else tuple(services)
    given["owners"] = dict(told.get("owners") or {})
    # On the way, the keys become text.
    for name in ("taken", "published"):
        given[name] = {int(port): held for port, held in (told.get(name) or {}).items()}
    return Host(**given)


def interface_of(address: str, interfaces: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the interface that has an address, from what ``ip -json address`` says; None for none."""
    for each in interfaces:
        if address in addresses_of([each]):
            return each
    return None


def addresses_of(interfaces: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the addresses that others may reach, from what ``ip -json address`` says."""
    return [
        info["local"]
        for each in interfaces
        for info in each.get("addr_info") or ()
        if info.get("scope") == "global"
    ]


def endpoint(address: str, port: int) -> str:
    """Return an address with a port, as Docker reads it."""
    return f"{bracketed(address)}:{port}"
