# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports of a swarm which hosts have to reach, and what they found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import MANAGEMENT
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import Sight

_NODES = ("tcp/7946", "udp/7946", "udp/4789")
_MANAGERS = f"tcp/{MANAGEMENT}"
_PURPOSES = {
    _MANAGERS: "managers",
    "tcp/7946": "membership",
    "udp/7946": "membership",
    "udp/4789": "overlay networks",
}
# Seconds; certificates of new nodes are valid from an hour ago, and what logs say is to be compared.
CLOCK_LIMIT = 30.0


@dataclass(frozen=True)
class Reach:
    """What a host found.

    Attributes:
        held: Its own ports that something else has.
        ports: By other host and port, ``reached``, ``refused`` or ``silent``.
        clocks: By other host, seconds that it is ahead.
    """

    held: tuple[str, ...] = ()
    ports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    clocks: Mapping[str, float] = field(default_factory=dict)


def reach_of(told: Mapping[str, Any] | None) -> Reach | None:
    """Return what mlflow_swarm_reach_info said; None where it was not asked."""
    if not told or "held" not in told:
        return None
    peers: Mapping[str, Mapping[str, Any]] = told["peers"]
    return Reach(
        tuple(told["held"]),
        {name: each["ports"] for name, each in peers.items()},
        {name: each["clock"] for name, each in peers.items() if each["clock"] is not None},
    )


def probes(sight: Sight) -> dict[str, dict[str, Any]]:
    """Return by host which ports it listens on and which of other hosts it asks; nothing where nobody joins."""
    able = {name: host for name, host in sight.asked.items() if host.answers and host.address}
    fresh = [name for name in able if name in sight.fresh]
    nodes = [name for name in able if name in sight.members]
    if not fresh or len(fresh) + len(nodes) < 2:
        return {}
    # Nodes that are there already say themselves whether they reach one another.
    return {
        name: {
            "listen": list(_ports(sight, name)) if name in fresh else [],
            "peers": [
                _peer(sight, other)
                for other in [*fresh, *nodes]
                if other != name and (name in fresh or other in fresh)
            ],
        }
        for name in [*fresh, *nodes]
    }


def _ports(sight: Sight, name: str) -> tuple[str, ...]:
    return (_MANAGERS, *_NODES) if sight.wanted.role_of(name) == "manager" else _NODES


def _peer(sight: Sight, name: str) -> dict[str, Any]:
    host = sight.asked[name]
    if name in sight.fresh:
        return {"name": name, "address": host.address, "ports": list(_ports(sight, name)), "listens": True}
    # Its engine has the ports, and answers nothing but connections.
    manages = sight.members[name].role == "manager"
    ports = ["tcp/7946", *([_MANAGERS] if manages else [])]
    return {
        "name": name,
        "address": host.swarm.address or host.address,
        "ports": sorted(ports),
        "listens": False,
    }


def of_reach(sight: Sight, reach: Mapping[str, Reach]) -> Iterator[str]:
    """Yield a sentence for each host whose ports are not reached, or held, and for clocks that are apart."""
    for name, each in reach.items():
        if each.held:
            yield (
                f"Something on {name} listens on {_listed(each.held)} that is not a swarm's engine. `ss -lntup` shows "
                "what. Swarm has no other ports; stop it."
            )
    for target in sight.asked:
        yield from _of_ports(target, reach)
    yield from _of_clocks(reach)


def _of_ports(target: str, reach: Mapping[str, Reach]) -> Iterator[str]:
    # What the target could not listen on has been told.
    held = reach[target].held if target in reach else ()
    missed: dict[str, list[str]] = {}
    for name, each in reach.items():
        for port, outcome in each.ports.get(target, {}).items():
            if outcome != "reached" and port not in held:
                missed.setdefault(port, []).append(name)
    if missed:
        seen = "; ".join(
            f"{port} ({_PURPOSES[port]}) from {', '.join(names)}" for port, names in sorted(missed.items())
        )
        yield (
            f"{target} is not reached at {seen}. A firewall on the way or on the host stops that, or {target} was not "
            "asked in time. Allow it between all nodes: 2377/tcp to managers, 7946/tcp, 7946/udp and 4789/udp to all."
        )


def _of_clocks(reach: Mapping[str, Reach]) -> Iterator[str]:
    told = set()
    for name, each in reach.items():
        for other, seconds in each.clocks.items():
            pair = frozenset({name, other})
            if abs(seconds) > CLOCK_LIMIT and pair not in told:
                told.add(pair)
                order = "ahead of" if seconds > 0 else "behind"
                yield (
                    f"The clock of {other} is {abs(seconds):.0f} s {order} that of {name}; more than "
                    f"{CLOCK_LIMIT:.0f} s are refused, since certificates and the order of runs depend on it. Let "
                    "chrony or systemd-timesyncd set the clocks."
                )


def _listed(ports: tuple[str, ...]) -> str:
    return " and ".join(ports)
