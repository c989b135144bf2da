# SPDX-License-Identifier: GPL-3.0-or-later
"""Capacity and versions of a Docker host, as far as they are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def describe_host(name: str, variables: Mapping[str, Any], project: str) -> dict[str, Any]:
    """Return what is known of a Docker host.

    Args:
        name: Its name.
        variables: Its variables, of which ``__mlflow_stack_capacity`` is what mlflow_capacity_info returned.
        project: Version of the collection; empty where nobody knows.

    Returns:
        ``name`` and ``entries``, each with ``name`` and ``value``; what is not known has no entry.
    """
    told = variables.get("__mlflow_stack_capacity") or {}
    entries = [*_space(told.get("lines", ())), *told.get("versions", {}).items()]
    if entries and project:
        entries.append(("freegee.mlflow_sftp", project))
    return {"name": name, "entries": [{"name": key, "value": value} for key, value in entries]}


def _space(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        place, separator, value = line.partition(": ")
        yield (place, value) if separator else ("space", place)
