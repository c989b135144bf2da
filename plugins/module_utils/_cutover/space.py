# SPDX-License-Identifier: GPL-3.0-or-later
"""How much space there is for a stack: asked, and never guessed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
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

    Raises:
        CutoverError: The server does not run, or does not answer.
    """
    server = f"{stack.project.name}-mlflow-1"
    found = docker.inspect(server)
    if found is None or not found["State"]["Running"]:
        raise CutoverError(f"{server} does not run, so that nobody can ask for free space", "Run site.yml")
    program = Program(server, ["info"])
    try:
        return [*_stores(stack, program, quota), *_databases(stack, program), _host(stack)]
    finally:
        program.end()


def _stores(stack: Stack, program: Program, quota: int) -> Iterator[Place]:
    if stack.store.storage == "sftp":
        told = _ask(program, stack.store.uri, *([] if quota else ["--space"]))["store"]
        name = f"the account {stack.store.account}"
        yield with_quota(Place(name, told["free_bytes"], told["total_bytes"], told.get("bytes")), quota)
    told = _ask(program, stack.settings.local_root, "--space")["store"]
    yield Place("the volume artifacts", told["free_bytes"], told["total_bytes"])


def _databases(stack: Stack, program: Program) -> Iterator[Place]:
    if stack.database.startswith("sqlite:"):
        told = _ask(program, DATABASE, "--space")
        free, total = told["store"]["free_bytes"], told["store"]["total_bytes"]
        yield Place("the volume database", free, total, told["database"]["bytes"])
        return
    used = _ask(program)["database"]["bytes"]
    if "postgres" in stack.project.services:
        free, total = _free_of_clusters(f"{stack.project.name}-postgres-1")
        yield Place("the volume postgres", free, total, used)
    else:
        yield Place("the database", used=used)


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
