# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that moves left, removed."""

from __future__ import annotations

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import (
    changes,
    named,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.decisions import to_give_up
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.look import database_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.operations import (
    Move,
    remove_network,
    remove_postgres_files,
    remove_volume,
    uri_after,
    uri_before,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    Program,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load,
    load_all,
    require_none_interrupted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack

# What a move writes before it closes MLflow, passwords among it.
_PREPARED = ("next", "before", "before.tar", "after.env")


def ended_early(stack: Stack) -> list[MoveRecord]:
    """Return the moves that ended before they closed MLflow, as by a power cut, with something of them left.

    Raises:
        RefusedError: A cutover is half done.
    """
    records = load_all(stack.settings.switches)
    require_none_interrupted(records)
    moves = to_give_up(database_of(stack), records)
    return [each for each in moves if each.made_volume or _prepared(stack, each)]


def give_up(stack: Stack, move: MoveRecord) -> None:
    """Remove what is left of a move that ended before it closed MLflow; raises CutoverError where something stays."""
    Move(stack, move).tidy(move)
    known = load(stack.settings.switches / move.id / move.file(), MoveRecord)
    if move.made_volume and known.made_volume:
        raise CutoverError(known.left_behind, "Mend it and run this again")


def _prepared(stack: Stack, move: MoveRecord) -> bool:
    directory = stack.settings.switches / move.id
    return any((directory / name).exists() for name in _PREPARED)


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
        # What a way back could not remove may run, and nobody was let in.
        if not move.remains:
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
        # A killed copy may have left something beside a file.
        program.call("empty-database")
        return
    known = program.call("info", "--rows")["database"]["rows"]
    # What was left when MLflow was opened elsewhere has as much as MLflow had then.
    left = move.left if move.state == "undone" and move.opened else move.known
    since = changes(left or {}, known)
    if since:
        raise RefusedError(
            f"{move.kept} is not what the {move.title} left, {named(since)} since: somebody uses it. Nothing was "
            "changed",
            "Find out who does; nothing here removes it",
        )
    program.call("empty-database", "--unused")
