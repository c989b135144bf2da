# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of the Docker host at which ports are published."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

# What the roles take by default.
LOOPBACK = "127.0.0.1"
_EVERYWHERE = "0.0.0.0"  # noqa: S104  # To be published.


def bind_problem(bind: str) -> str:
    """Return what was expected of an address; empty where nothing is wrong."""
    try:
        ip_address(bind)
    except ValueError:
        return "expected an address of the Docker host, such as 127.0.0.1 or ::1, or 0.0.0.0 for all."
    return ""


def is_reached(bind: str) -> bool:
    """Whether others reach an address; of what is none, another sentence tells."""
    return not bind_problem(bind) and not ip_address(bind).is_loopback


def bracketed(host: str) -> str:
    """Return a host name or an address as it is written before a port."""
    return f"[{host}]" if ":" in host else host


def stack_bind(values: Mapping[str, Any]) -> str:
    """Return the address of MLflow's and JupyterLab's ports, variables by name."""
    return str(values.get("mlflow_stack_bind", LOOPBACK))


def gateway_bind(values: Mapping[str, Any]) -> str:
    """Return the address of the gateway's ports, variables by name."""
    return str(values.get("mlflow_gateway_bind", _EVERYWHERE))
