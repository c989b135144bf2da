# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers, volumes and networks as ``docker inspect`` shows them."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import (
    LABEL,
    WORKING_DIR,
    Thing,
)


def thing_of(kind: str, shown: dict[str, Any]) -> Thing:
    """Return what ``docker KIND inspect`` shows of one thing."""
    config = shown.get("Config") or {}
    labels = config.get("Labels") if kind == "container" else shown.get("Labels")
    return Thing(
        kind,
        shown["Name"].lstrip("/"),
        _with_real_paths(labels or {}),
        image=config.get("Image", ""),
        uses=_uses(shown) if kind == "container" else frozenset(),
        ports=_ports(shown) if kind == "container" else frozenset(),
        running=kind == "container" and bool(shown.get("State", {}).get("Running")),
    )


def _with_real_paths(labels: dict[str, str]) -> dict[str, str]:
    """Return labels whose directories compare with ours, however each was written."""
    return {
        name: os.path.realpath(text) if name in (LABEL, WORKING_DIR) and text.startswith("/") else text
        for name, text in labels.items()
    }


def _uses(shown: dict[str, Any]) -> frozenset[str]:
    mounts = [mount.get("Name") or mount.get("Source", "") for mount in shown.get("Mounts") or []]
    networks = (shown.get("NetworkSettings") or {}).get("Networks") or {}
    return frozenset([*mounts, *networks])


def _ports(shown: dict[str, Any]) -> frozenset[int]:
    # What is asked for, so that a container which is stopped counts as well; "0" lets the engine choose.
    bindings = ((shown.get("HostConfig") or {}).get("PortBindings") or {}).values()
    ports = (binding.get("HostPort", "") for several in bindings for binding in several or [])
    return frozenset(int(port) for port in ports if port.isdigit() and port != "0")
