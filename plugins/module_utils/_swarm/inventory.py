# SPDX-License-Identifier: GPL-3.0-or-later
"""The swarm of an inventory, from its groups and variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.truth import is_true
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Host, host_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.ports import Reach, reach_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.serving import serving_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.sight import (
    MANAGERS,
    WORKERS,
    Wanted,
    Wish,
)

Variables = Mapping[str, Any]
# Where the role registers what the modules said.
HOST = "__docker_swarm_host"
REACH = "__docker_swarm_reach"


def wanted_of(
    groups: Mapping[str, Sequence[str]], variables: Mapping[str, Variables], options: Variables
) -> Wanted:
    """Return the swarm of an inventory.

    Args:
        groups: Names of hosts by group.
        variables: Variables by host.
        options: Of the swarm as a whole: name, state, adopt, remove_services, engine_required.
    """
    managers, workers = tuple(groups.get(MANAGERS, ())), tuple(groups.get(WORKERS, ()))
    return Wanted(
        str(options["name"]),
        managers,
        workers,
        {name: _wish(variables[name]) for name in [*managers, *workers]},
        str(options["state"]),
        is_true(options["adopt"]),
        is_true(options["remove_services"]),
        is_true(options["engine_required"]),
        serving_of(groups, variables),
    )


def _wish(variables: Variables) -> Wish:
    return Wish(
        str(variables.get("docker_swarm_address") or ""),
        str(variables.get("docker_swarm_availability") or ""),
        variables.get("docker_swarm_labels") or {},
    )


def found_of(variables: Mapping[str, Variables], names: Sequence[str]) -> dict[str, Host | None]:
    """Return what each host said, from what the role has registered; None where it could not be asked."""
    return {name: host_of(variables[name].get(HOST)) for name in names}


def reach_found(variables: Mapping[str, Variables], names: Sequence[str]) -> dict[str, Reach]:
    """Return what the hosts that were asked about ports said."""
    told = {name: reach_of(variables[name].get(REACH)) for name in names}
    return {name: each for name, each in told.items() if each}
