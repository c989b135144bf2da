# SPDX-License-Identifier: GPL-3.0-or-later
"""A swarm's description of the servers, which ``docker service inspect`` shows below ``Spec``, changed by a cutover."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.objects import Object

Description = Mapping[str, Any]

# How those arguments of the servers' program begin that name the store.
_OF_STORE = (
    "--default-artifact-root=",
    "--serve-artifacts",
    "--no-serve-artifacts",
    "--artifacts-destination=",
)


def image_of(description: Description) -> str:
    """Return the servers' image."""
    return str(description["TaskTemplate"]["ContainerSpec"]["Image"])


def replicas_of(description: Description) -> int:
    """Return how many servers there are to be."""
    return int(description["Mode"]["Replicated"].get("Replicas", 1))


def with_image(description: Description, image: str) -> dict[str, Any]:
    """Return it with another image, and nothing else changed."""
    return _with_container(description, {"Image": image})


def with_store(
    description: Description, arguments: Sequence[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Return it with another store: its arguments after the program's others, its variables among the others."""
    variables = {**environment_of(description), **environment}
    env = [f"{name}={value}" for name, value in variables.items()]
    present = description["TaskTemplate"]["ContainerSpec"].get("Args") or ()
    others = [each for each in present if not each.startswith(_OF_STORE)]
    return _with_container(description, {"Args": [*others, *arguments], "Env": env})


def with_files(description: Description, objects: Iterable[Object], ids: Mapping[str, str]) -> dict[str, Any]:
    """Return it with other secrets and configs, and nothing else changed.

    Args:
        description: Of the servers.
        objects: All that they are to see.
        ids: Of these in the swarm, by name.
    """
    seen: dict[str, list[Mapping[str, Any]]] = {"Secrets": [], "Configs": []}
    for each in objects:
        kind = each.kind.capitalize()
        file = {"Name": each.filename, "UID": each.uid, "GID": each.gid, "Mode": each.mode}
        seen[f"{kind}s"].append({"File": file, f"{kind}ID": ids[each.name], f"{kind}Name": each.name})
    return _with_container(description, seen)


def files_of(description: Description) -> set[tuple[str, str]]:
    """Return kind and name of each secret and config that servers see."""
    container = description["TaskTemplate"]["ContainerSpec"]
    return {
        (kind.lower(), str(each[f"{kind}Name"]))
        for kind in ("Secret", "Config")
        for each in container.get(f"{kind}s") or ()
    }


def with_replicas(description: Description, replicas: int) -> dict[str, Any]:
    """Return it with another number of servers, and nothing else changed."""
    mode = description["Mode"]
    return {**description, "Mode": {**mode, "Replicated": {**mode["Replicated"], "Replicas": replicas}}}


def run_options(description: Description) -> list[str]:
    """Return what ``docker run`` takes for the same environment and program."""
    container = description["TaskTemplate"]["ContainerSpec"]
    program = [*(container.get("Command") or ())]
    return [
        *(f"--env={each}" for each in container.get("Env") or ()),
        *([f"--entrypoint={program[0]}"] if program else []),
    ]


def arguments(description: Description) -> list[str]:
    """Return the arguments of that program."""
    container = description["TaskTemplate"]["ContainerSpec"]
    return [*(container.get("Command") or ())[1:], *(container.get("Args") or ())]


def environment_of(description: Description) -> dict[str, str]:
    """Return the servers' environment."""
    pairs = (each.partition("=") for each in description["TaskTemplate"]["ContainerSpec"].get("Env") or ())
    return {name: value for name, _, value in pairs}


def digest(description: Description) -> str:
    """Return a digest of what servers are made of: not of how many there are, or how often they were started anew."""
    template = {name: each for name, each in description["TaskTemplate"].items() if name != "ForceUpdate"}
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def _with_container(description: Description, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return it with other parts of what containers are made of."""
    template = description["TaskTemplate"]
    container = {**template["ContainerSpec"], **changes}
    return {**description, "TaskTemplate": {**template, "ContainerSpec": container}}
