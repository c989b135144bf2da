# SPDX-License-Identifier: GPL-3.0-or-later
"""A swarm's description of the servers, which ``docker service inspect`` shows below ``Spec``, changed by a cutover."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Description = Mapping[str, Any]


def image_of(description: Description) -> str:
    """Return the servers' image."""
    return str(description["TaskTemplate"]["ContainerSpec"]["Image"])


def replicas_of(description: Description) -> int:
    """Return how many servers there are to be."""
    return int(description["Mode"]["Replicated"].get("Replicas", 1))


def with_image(description: Description, image: str) -> dict[str, Any]:
    """Return it with another image, and nothing else changed."""
    template = description["TaskTemplate"]
    container = {**template["ContainerSpec"], "Image": image}
    return {**description, "TaskTemplate": {**template, "ContainerSpec": container}}


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
