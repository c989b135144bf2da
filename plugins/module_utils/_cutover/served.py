# SPDX-License-Identifier: GPL-3.0-or-later
"""What a swarm serves of a stack, asked through the engine of the stack's home, which is a manager."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Project
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node, node_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.readiness import closed_home

# Beside LABEL: two stacks of a swarm may have the same directory on different homes.
PROJECT_LABEL = "freegee.mlflow_sftp.project"
_TRIES = 5


def filters(project: str, directory: Path) -> tuple[str, ...]:
    """Return the options with which Docker lists what was made for a stack."""
    return (f"--filter=label={LABEL}={directory}", f"--filter=label={PROJECT_LABEL}={project}")


def services_of(project: str, directory: Path) -> list[dict[str, Any]]:
    """Return what ``docker service inspect`` tells of a stack's services.

    Raises:
        RefusedError: There are none, or this engine cannot tell.
    """
    try:
        names = docker.run("service", "ls", "--format={{.Name}}", *filters(project, directory)).split()
    except CutoverError as error:
        raise RefusedError(
            f"A swarm serves the stack of {directory}, and this engine cannot be asked for its "
            f"services: {error.seen}. Nothing was changed",
            "It has to be a manager of a swarm with a quorum; playbooks/swarm.yml --check tells more",
        ) from error
    if f"{project}_mlflow" not in names:
        raise RefusedError(
            f"A swarm is to serve the stack of {directory}, and has no service {project}_mlflow of it",
            "Run site.yml first",
        )
    found: list[dict[str, Any]] = json.loads(docker.run("service", "inspect", *names))
    return found


def served(project: str, directory: Path) -> Project:
    """Return what a swarm serves of a stack; raises RefusedError as `services_of` does."""
    services = services_of(project, directory)
    ids = sorted(
        {each["Target"] for service in services for each in service["Spec"]["TaskTemplate"]["Networks"]}
    )
    names = docker.run("network", "inspect", "--format={{.Id}} {{.Name}}", *ids).split()
    return Project.from_services(project, services, dict(zip(names[::2], names[1::2], strict=True)))


def tasks_of(service: str) -> list[Mapping[str, Any]]:
    """Return what ``docker inspect --type task`` tells of a service's tasks, of those that are over as well.

    Raises:
        CutoverError: They cannot be told; never fewer than there are.
    """
    for _ in range(_TRIES):
        ids = docker.run("service", "ps", "--quiet", "--no-trunc", service).split()
        # One may be gone between the two questions.
        with contextlib.suppress(CutoverError):
            found: list[Mapping[str, Any]] = (
                json.loads(docker.run("inspect", "--type=task", *ids)) if ids else []
            )
            return found
    raise CutoverError(f"the tasks of {service} cannot be told, or change faster than they can be asked for")


def nodes() -> list[Node]:
    """Return the nodes, as the managers see them."""
    return _inspected(*docker.run("node", "ls", "--quiet").split())


def closed() -> list[str]:
    """Return why containers of this host, the stack's home, would not get into the swarm's networks.

    Nothing where the swarm cannot say; whatever is asked of it next, tells why.
    """
    with contextlib.suppress(CutoverError):
        (node,) = _inspected("self")
        return list(closed_home(node.hostname, node.availability, node.id))
    return []


def _inspected(*ids: str) -> list[Node]:
    return [node_of(each) for each in json.loads(docker.run("node", "inspect", *ids))]
