# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose projects of what is restored: a drill's, beside the stack, and the stack's own with its PostgreSQL alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL

# On a network of the stack, a service's name leads to it: there must be no second "mlflow".
SERVER = "restored"
# Of a service of the stack that has no meaning, or would be in the way, beside it.
_LEFT_OUT = ("ports", "build", "profiles", "container_name", "pull_policy", "restart", "networks", "volumes")


def second_project(
    config: Mapping[str, Any],
    project: str,
    directory: str,
    *,
    outside: str = "",
    way_out: bool = False,
    account: str = "",
) -> dict[str, Any]:
    """Return a Compose file, as JSON is one too.

    Args:
        config: What ``docker compose config --format json`` tells of the restored files.
        project: Its name, which those of volumes and networks begin with.
        directory: Of the drill, whose label everything bears.
        outside: Network on which the server reaches the SFTP account; empty for none, so that it reaches nothing.
        way_out: Whether it reaches that on a network of its own. A swarm's will not do: beside one of this project,
            which nothing leaves, older engines (20.10) lead everything into that one.
        account: Directory with the restored files of the account, which the server sees at the same place.
    """
    labels = {LABEL: directory}
    names = [name for name in ("mlflow", "postgres") if name in config["services"]]
    services = {}
    for name in names:
        given = config["services"][name]
        service = {key: value for key, value in given.items() if key not in _LEFT_OUT}
        service |= {
            "labels": {**given.get("labels", {}), **labels},
            "pull_policy": "never",
            "restart": "no",
            "networks": _networks_of(name, names, bool(outside) or way_out),
            "volumes": list(given.get("volumes", ())),
        }
        services[SERVER if name == "mlflow" else name] = service
    if account:
        services[SERVER]["volumes"].append(f"{account}:{account}:ro,z")
    networks: dict[str, Any] = {
        "default": {"name": project, "internal": True, "labels": labels},
        "database": {"name": f"{project}_database", "internal": True, "labels": labels},
    }
    if way_out:
        networks["outside"] = {"name": f"{project}_outside", "labels": labels}
    elif outside:
        networks["outside"] = {"name": outside, "external": True}
    return {
        "name": project,
        "services": services,
        "networks": networks,
        "volumes": {
            name: {"name": f"{project}_{name}", "external": True} for name in config.get("volumes", {})
        },
    }


def only_postgres(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stack's own project with nothing but its PostgreSQL, which Compose finds unchanged in the whole later.

    `config` is what ``docker compose config --format json`` tells.
    """
    service = config["services"]["postgres"]
    return {
        "name": config["name"],
        "services": {"postgres": service},
        "networks": {name: config["networks"][name] for name in service["networks"]},
        "volumes": {name: volume for name, volume in config["volumes"].items() if name in _sources(service)},
    }


def _sources(service: Mapping[str, Any]) -> set[str]:
    return {each["source"] for each in service["volumes"] if each["type"] == "volume"}


def require_apart(project: str, directory: str, stack_project: str, stack_directory: str) -> None:
    """Refuse names that are, or lie in, the stack's own.

    Raises:
        RefusedError: The drill would take the stack for its own.
    """
    if project == stack_project:
        raise RefusedError(
            f"mlflow_backup_drill_project is {project}, the project of the stack itself",
            "Choose another name",
        )
    path, own = PurePosixPath(directory), PurePosixPath(stack_directory)
    if path.is_relative_to(own) or own.is_relative_to(path):
        raise RefusedError(
            f"mlflow_backup_drill_dir is {directory}, and the stack's directory {stack_directory}",
            "Choose a directory beside it: the drill's is deleted at the end",
        )


def _networks_of(name: str, names: list[str], outside: bool) -> list[str]:
    if name == "postgres":
        return ["database"]
    return ["default", *(["database"] if "postgres" in names else []), *(["outside"] if outside else [])]
