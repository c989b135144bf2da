# SPDX-License-Identifier: GPL-3.0-or-later
"""Capacity and versions of a Docker host, as far as they are known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def describe_host(name: str, variables: Mapping[str, Any], project: str) -> dict[str, Any]:
    """Return what is known of a Docker host.

    Args:
        name: Its name.
        variables: Its variables: ``__mlflow_stack_capacity`` is what mlflow_capacity_info returned, and
            ``__mlflow_stack_engine_version``, ``__mlflow_stack_running_images`` and ``__mlflow_stack_schema_version``
            are the results of commands.
        project: Version of the collection; empty where nobody knows.

    Returns:
        ``name`` and ``entries``, each with ``name`` and ``value``; what is not known has no entry.
    """
    entries = [*_capacity(variables), *_versions(variables)]
    if entries and project:
        entries.append(("freegee.mlflow_sftp", project))
    return {"name": name, "entries": [{"name": key, "value": value} for key, value in entries]}


def _capacity(variables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    told = variables.get("__mlflow_stack_capacity") or {}
    for line in told.get("lines", ()):
        place, separator, value = str(line).partition(": ")
        yield (place, value) if separator else ("space", place)


def _versions(variables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    schema = _json(_said(variables, "__mlflow_stack_schema_version"))
    if schema.get("mlflow"):
        yield "MLflow", str(schema["mlflow"])
    if schema.get("database"):
        revisions = ", ".join(map(str, schema["database"]))
        yield "schema of the database", f"{revisions} ({schema.get('state', 'unknown')})"
    if engine := _said(variables, "__mlflow_stack_engine_version"):
        yield "Docker engine", engine
    if images := sorted(set(_said(variables, "__mlflow_stack_running_images").split())):
        yield "images", ", ".join(images)


def _said(variables: Mapping[str, Any], name: str) -> str:
    result = variables.get(name) or {}
    return str(result.get("stdout", "")).strip() if result.get("rc") == 0 else ""


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
