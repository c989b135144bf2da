# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: secrets and configs of a swarm, the database's password apart, and which nodes are ready for what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.objects import (
    Settings,
    ids_of,
    mounts_of,
    objects_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.passfile import apart
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.readiness import (
    Holder,
    Pin,
    closed_home,
    gateways_of,
    unready,
)

_IDS = ("server_ids", "gateway_ids", "postgres_ids")


def mlflow_swarm_objects(
    files: Iterable[Mapping[str, Any]], services: Iterable[str], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the secrets and configs that services need, made of these files."""
    ids = {name: _pair(settings[name]) for name in _IDS}
    given = Settings(**{**settings, **ids, "storing": tuple(settings["storing"])})
    return [asdict(each) for each in objects_of(files, services, given)]


def mlflow_swarm_mounts(
    objects: Sequence[Mapping[str, Any]], secrets: Mapping[str, str], configs: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the options ``secrets`` and ``configs`` of each service."""
    return mounts_of(objects, {**secrets, **ids_of(configs)})


def mlflow_database_apart(uri: str) -> dict[str, str]:
    """Return a database's URI without its password, and the passfile that has that."""
    return asdict(apart(uri))


def mlflow_swarm_unready(
    nodes: Iterable[Mapping[str, Any]], holders: Iterable[Mapping[str, Any]], pin: Mapping[str, Any] | None
) -> list[str]:
    """Return a sentence or two for each reason why no service may change."""
    return list(
        unready(
            [Node(**each) for each in nodes],
            [Holder(**each) for each in holders],
            Pin(**pin) if pin else None,
        )
    )


def mlflow_swarm_gateways(nodes: Iterable[Mapping[str, Any]], label: str) -> list[str]:
    """Return ids of the nodes that have to have a gateway."""
    return gateways_of([Node(**each) for each in nodes], label)


def mlflow_swarm_closed_home(host: Mapping[str, Any], name: str) -> list[str]:
    """Return why containers of the stack's home would not get into the swarm's networks."""
    own = [Node(**each) for each in host["nodes"] or () if each["id"] == host["swarm"]["node"]]
    return [reason for node in own for reason in closed_home(name, node.availability, node.id)]


def _pair(ids: Sequence[Any]) -> tuple[int, int]:
    uid, gid = ids
    return int(uid), int(gid)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "mlflow_swarm_objects": mlflow_swarm_objects,
            "mlflow_swarm_mounts": mlflow_swarm_mounts,
            "mlflow_database_apart": mlflow_database_apart,
            "mlflow_swarm_unready": mlflow_swarm_unready,
            "mlflow_swarm_gateways": mlflow_swarm_gateways,
            "mlflow_swarm_closed_home": mlflow_swarm_closed_home,
        }
