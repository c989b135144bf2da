# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: what is to be done on each host of a swarm, and what is to be known of its hosts' ports before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.decisions import decide, probes_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.inventory import (
    found_of,
    reach_found,
    wanted_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.serving import serving_of

Groups = Mapping[str, Sequence[str]]
Variables = Mapping[str, Mapping[str, Any]]


def mlflow_swarm_decision(groups: Groups, variables: Variables, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be done on each host, with findings."""
    wanted = wanted_of(groups, variables, options)
    decision = decide(wanted, found_of(variables, wanted.hosts), reach_found(variables, wanted.hosts))
    shown = {name: _plain(value) for name, value in vars(decision).items()}
    return {**shown, "updates": [{**asdict(each), "lines": list(each.lines)} for each in decision.updates]}


def mlflow_swarm_probes(
    groups: Groups, variables: Variables, options: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return by host what it is to try of the ports."""
    wanted = wanted_of(groups, variables, options)
    return probes_of(wanted, found_of(variables, wanted.hosts))


def mlflow_swarm_ports(groups: Groups, variables: Variables) -> list[int]:
    """Return the ports that gateways publish on nodes."""
    serving = serving_of(groups, variables)
    return sorted(filter(None, serving.ports.values())) if serving else []


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "mlflow_swarm_decision": mlflow_swarm_decision,
            "mlflow_swarm_probes": mlflow_swarm_probes,
            "mlflow_swarm_ports": mlflow_swarm_ports,
        }
