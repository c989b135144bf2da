# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack that a swarm is to serve, as the inventory describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import gateway_bind
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.truth import is_true

HOMES = "docker_hosts"
ENGINE = "swarm"
DATABASE_LABEL = "mlflow.database"
_PARTS = ("postgres", "mlflow", "gateway", "dask-scheduler", "dask-worker")
_PORTS = {"mlflow_gateway_https_port": 443, "mlflow_gateway_http_port": 80}
_PROJECT, _DIRECTORY = "mlflow", "/opt/mlflow-stack"
_SERVICES = ("mlflow", "notebook", "experiment-service", "train")


@dataclass(frozen=True)
class Serving:
    """The stack that a swarm is to serve.

    Attributes:
        homes: Hosts that are to have the stack's directory, and through which its services are changed.
        replicas: How many servers.
        store: mlflow_stack_backend_store, which may hold a password.
        storage: ``local`` or ``sftp``.
        login: ``none`` or ``basic``.
        services: Those that are asked for.
        monitor: Whether a monitor is asked for.
        gateway: Name under which people and programs reach MLflow; empty for none.
        bind: Address of the gateway's ports.
        network: A network that is there, to be used; empty for the stack's own.
        database_label: Label of the node that has the database of the stack's own service.
        gateway_label: Label of the nodes that have a gateway; empty for all.
        ports: That a gateway publishes, by variable; none for 0.
        project: With which names of services begin.
        directory: Of the stack on its home, by which what was made for it is known.
        dask: Whether scheduler and workers of dask are asked for.
        dask_label: Label of the nodes that may have them; empty for all.
    """

    homes: tuple[str, ...]
    replicas: int = 1
    store: str = "sqlite"
    storage: str = "sftp"
    login: str = "none"
    services: tuple[str, ...] = _SERVICES
    monitor: bool = False
    gateway: str = ""
    bind: str = "0.0.0.0"  # noqa: S104  # To be published.
    network: str = ""
    database_label: str = DATABASE_LABEL
    gateway_label: str = ""
    ports: Mapping[str, int] = field(default_factory=lambda: dict(_PORTS))
    project: str = _PROJECT
    directory: str = _DIRECTORY
    dask: bool = False
    dask_label: str = ""

    @property
    def pins_database(self) -> bool:
        """Whether the database is a service of the stack, whose volume one node has."""
        return self.store == "postgresql"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the services that the swarm has, or may have had."""
        return tuple(f"{self.project}_{part}" for part in _PARTS)


def serving_of(
    groups: Mapping[str, Sequence[str]], variables: Mapping[str, Mapping[str, Any]]
) -> Serving | None:
    """Return the stack that the inventory's swarm is to serve; None for none.

    Args:
        groups: Names of hosts by group.
        variables: Variables by host.
    """
    homes = tuple(
        name for name in groups.get(HOMES, ()) if variables[name].get("mlflow_stack_engine") == ENGINE
    )
    if not homes:
        return None
    given = variables[homes[0]]
    return Serving(
        homes,
        int(given.get("mlflow_stack_replicas", 1)),
        str(given.get("mlflow_stack_backend_store", "sqlite")),
        str(given.get("artifact_storage", "sftp")),
        str(given.get("mlflow_stack_auth", "none")),
        tuple(given.get("mlflow_stack_services", _SERVICES)),
        is_true(given.get("mlflow_stack_monitor", False)),
        str(given.get("mlflow_gateway_hostname") or ""),
        gateway_bind(given),
        str(given.get("mlflow_stack_network") or ""),
        str(given.get("mlflow_stack_database_label", DATABASE_LABEL)),
        str(given.get("mlflow_stack_gateway_label") or ""),
        {name: int(given.get(name, usual)) for name, usual in _PORTS.items()},
        str(given.get("mlflow_stack_project", _PROJECT)),
        str(given.get("mlflow_stack_dir", _DIRECTORY)),
        is_true(given.get("mlflow_stack_dask", False)),
        str(given.get("mlflow_stack_dask_label") or ""),
    )
