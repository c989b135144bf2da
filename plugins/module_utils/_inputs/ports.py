# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports that a stack publishes on its Docker host, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import combinations
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import (
    LOOPBACK,
    bind_problem,
    gateway_bind,
    stack_bind,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.truth import is_true

# By name, the lowest that can be used: 0 is any, or none.
_LOWEST = {
    "mlflow_stack_port": 0,
    "mlflow_stack_notebook_port": 0,
    "mlflow_stack_monitor_port": 0,
    "sftp_port": 0,
}
_GATEWAY = {"mlflow_gateway_https_port": 1, "mlflow_gateway_http_port": 0}


@dataclass(frozen=True)
class Published:
    """A port of a service that is on, and the variable and the address that it is published with."""

    name: str
    bind: str
    port: int

    def meets(self, other: Published) -> bool:
        """Whether only one of both can be published."""
        return bool(self.port) and self.port == other.port and _overlap(self.bind, other.bind)


def published(values: Mapping[str, Any]) -> Iterator[Published]:
    """Yield the ports that are published, of the services that are on alone.

    Args:
        values: The variables by name, defaults among them; what is missing is not published.
    """
    services = values.get("mlflow_stack_services") or ()
    stack, gateway = stack_bind(values), gateway_bind(values)
    has_gateway = bool(values.get("mlflow_gateway_hostname"))
    places = {
        "mlflow_stack_port": (stack, "mlflow" in services),
        "mlflow_stack_notebook_port": (stack, "notebook" in services),
        "mlflow_stack_monitor_port": (LOOPBACK, is_true(values.get("mlflow_stack_monitor", False))),
        "mlflow_gateway_https_port": (gateway, has_gateway),
        "mlflow_gateway_http_port": (gateway, has_gateway),
    }
    for name, (bind, is_on) in places.items():
        if is_on and name in values:
            yield Published(name, bind, int(values[name]))


def port_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each port that is none, and for each two that only one service can have."""
    lowest = _LOWEST | (_GATEWAY if values.get("mlflow_gateway_hostname") else {})
    for name in lowest:
        if name in values and not lowest[name] <= int(values[name]) <= 65535:
            yield f"{name} is {values[name]}; expected a TCP port, 1 to 65535."
    for one, other in combinations(published(values), 2):
        if one.meets(other):
            yield f"{one.name} and {other.name} are both {one.port}; each needs a port of its own."


def _overlap(bind: str, other: str) -> bool:
    # Of what is no address, another sentence tells.
    if bind == other or bind_problem(bind) or bind_problem(other):
        return True
    return ip_address(bind).is_unspecified or ip_address(other).is_unspecified
