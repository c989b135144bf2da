# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: what client hosts take over from their server, and whose keys the SFTP account must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.clients import (
    client_of,
    clients_of,
    keys_of,
    running_on,
    switch_findings,
)

Variables = Mapping[str, Mapping[str, Any]]


def mlflow_client(name: str, groups: Mapping[str, Sequence[str]], variables: Variables) -> dict[str, Any]:
    """Return what a client host takes over from its server, whether it holds a key, and findings."""
    client = client_of(name, groups, variables)
    return {
        **asdict(client),
        "services": list(client.services),
        "findings": list(client.findings),
        "holds_key": client.holds_key,
    }


def mlflow_key_hosts(groups: Mapping[str, Sequence[str]], variables: Variables) -> list[str]:
    """Return the hosts whose keys the SFTP account must know."""
    return keys_of(groups, variables)


def mlflow_client_switch(
    server: str, storage: str, access: str, groups: Mapping[str, Sequence[str]], variables: Variables
) -> list[str]:
    """Return why a storage switch of a server's host must not begin while there are its client hosts."""
    clients = clients_of(server, groups, variables)
    running = {name: running_on(variables[name]) for name in clients}
    return switch_findings(storage, access, running)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "mlflow_client": mlflow_client,
            "mlflow_key_hosts": mlflow_key_hosts,
            "mlflow_client_switch": mlflow_client_switch,
        }
