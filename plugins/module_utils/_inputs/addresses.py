# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of the Docker host at which ports are published."""

from __future__ import annotations

from ipaddress import ip_address


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
