# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that moves left, removed."""

from __future__ import annotations

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import (
    changes,
    named,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.operations import (
    remove_network,
    remove_postgres_files,
    remove_volume,
    uri_after,
    uri_before,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import MoveRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    Program,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def prune(stack: Stack, move: MoveRecord) -> None:
    """Remove the database that a move left, and note that it is gone.

    Raises:
        RefusedError: Somebody has used it since.
        CutoverError: It cannot be removed, or holds what is not MLflow's.
    """
    database = move.kept
    if database is None:
        return
    directory = stack.settings.switches / move.id
    if database.is_service:
        _require_stopped(stack)
        docker.remove(stack.postgres)
        remove_volume(stack)
        remove_network(stack)
        remove_postgres_files(stack.settings.directory)
    else:
        uri = uri_before(directory) if move.state == "done" else uri_after(directory)
        stack.start_tool(stack.planner, [stack.database_volume], database=uri)
        with running_program(stack.planner, "schema", "info", "empty-database") as program:
            _empty(move, program)
    record.write(move.updated(pruned=True), directory)


def _require_stopped(stack: Stack) -> None:
    found = docker.inspect(stack.postgres)
    if found is not None and found["State"]["Running"]:
        raise RefusedError(
            f"{stack.postgres} runs, and MLflow's database is another one: somebody uses it. Nothing was changed",
            f"If nobody does, stop it: docker stop {stack.postgres}",
        )


def _empty(move: MoveRecord, program: Program) -> None:
    if program.call("schema")["state"] == "empty":
        return
    known = program.call("info")["database"]["rows"]
    # What was left when MLflow was opened elsewhere has as much as MLflow had then.
    left = move.known if move.state == "done" else move.left
    since = changes(left, known) if left is not None else {}
    if since:
        raise RefusedError(
            f"{move.kept} is not what the {move.title} left, {named(since)} since: somebody uses it. Nothing was "
            "changed",
            "Find out who does; nothing here removes it",
        )
    program.call("empty-database", "--unused")
