# SPDX-License-Identifier: GPL-3.0-or-later
"""How much space there is for a stack: asked, and never guessed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.capacity import Place, with_quota
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import Program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import DATABASE, Stack

_SECONDS = 300.0
_CLUSTERS = "/var/lib/postgresql"


def places(stack: Stack, quota: int) -> list[Place]:
    """Return where a stack keeps something, each with its space.

    Args:
        stack: Whose server runs: it has what all of them are reached with.
        quota: How many bytes the SFTP account may hold; 0 for no quota. With one, what it holds is counted, which takes
            a listing of the whole account.

    What cannot be asked is not known, with the reason, and keeps nothing else from being told: where a disk is full, it
    is the server that does not run.
    """
    server = f"{stack.project.name}-mlflow-1"
    program: Program | None = None
    stopped = f"{server} does not run"
    try:
        found = docker.inspect(server)
        if found is not None and found["State"]["Running"]:
            program = Program(server, ["info"])
    except CutoverError as error:
        stopped = error.seen
    try:
        asked = _asked(stack, quota)
        return [*(_told(name, look, program, stopped) for name, look in asked.items()), _host(stack)]
    finally:
        if program is not None:
            program.end()


def volume_free_bytes(stack: Stack) -> int | None:
    """Return what is free where the engine keeps the database's volume.

    None where that is the disk of the stack's directory, where the database is elsewhere, and where nobody can tell
    from here.
    """
    is_here = stack.database.startswith("sqlite:") or (
        bool(stack.project.postgres_image) and not stack.project.on_swarm
    )
    root = docker.root_directory() if is_here else None
    if root is None or root.stat().st_dev == stack.settings.directory.stat().st_dev:
        return None
    return shutil.disk_usage(root).free


_Look = Callable[[Program, str], Place]


def _told(name: str, look: _Look, program: Program | None, stopped: str) -> Place:
    """Return what is told of a place, or why nothing is."""
    if program is None:
        return Place(name, reason=stopped)
    try:
        return look(program, name)
    except CutoverError as error:
        return Place(name, reason=error.seen)


def _asked(stack: Stack, quota: int) -> dict[str, _Look]:
    """Return the places that the server is asked about, by their names."""
    asked: dict[str, _Look] = {}
    if stack.store.storage == "sftp":
        asked[f"the account {stack.store.account}"] = partial(_account, stack.store.uri, quota)
    asked["the volume artifacts"] = partial(_artifacts, stack.settings.local_root)
    if stack.database.startswith("sqlite:"):
        asked["the volume database"] = _sqlite
    elif "postgres" in stack.project.services:
        asked["the volume postgres"] = partial(_postgres, f"{stack.project.name}-postgres-1")
    else:
        asked["the database"] = lambda program, name: Place(
            name, used=_ask(program, "--space")["database"]["bytes"]
        )
    return asked


def _account(uri: str, quota: int, program: Program, name: str) -> Place:
    told = _ask(program, uri, *([] if quota else ["--space"]))["store"]
    # What could not be listed may be anything.
    used = None if told.get("unreadable") else told.get("bytes")
    place = with_quota(Place(name, told["free_bytes"], told["total_bytes"], used), quota)
    if quota and used is None:
        return replace(place, reason="not everything on it can be listed, to be compared with its quota")
    return place


def _artifacts(root: str, program: Program, name: str) -> Place:
    told = _ask(program, root, "--space")["store"]
    return Place(name, told["free_bytes"], told["total_bytes"])


def _sqlite(program: Program, name: str) -> Place:
    told = _ask(program, DATABASE, "--space")
    return Place(name, told["store"]["free_bytes"], told["store"]["total_bytes"], told["database"]["bytes"])


def _postgres(container: str, program: Program, name: str) -> Place:
    free, total = _free_of_clusters(container)
    return Place(name, free, total, _ask(program, "--space")["database"]["bytes"])


def _host(stack: Stack) -> Place:
    disk = shutil.disk_usage(stack.settings.directory)
    return Place(f"the directory {stack.settings.directory}", disk.free, disk.total)


def _free_of_clusters(container: str) -> tuple[int, int]:
    """Return free and all bytes, as POSIX has df tell them."""
    lines = docker.run("exec", container, "df", "-Pk", _CLUSTERS).splitlines()
    _, total, _, free, *_ = lines[-1].split()
    return int(free) << 10, int(total) << 10


def _ask(program: Program, *arguments: str) -> Any:
    return program.call("info", *arguments, seconds=_SECONDS)
