# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that moves left, removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import (
    changes,
    named,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import translated
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.decisions import (
    require_known_elsewhere,
    to_give_up,
)
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


@dataclass(frozen=True)
class Pruned:
    """What became of all that moves left, by its name for people.

    Attributes:
        places: Of the databases that went.
        gone: What went.
        stays: What does not, with the reason.
    """

    places: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    stays: Mapping[str, str] = field(default_factory=dict)

    def message(self, *, check: bool) -> str:
        """Return the result for people."""
        if not self.gone and not self.stays:
            return "Nothing to do: no move of the database has left one."
        verb = "Would be removed" if check else "Removed"
        told = [f"{verb}: {'; '.join(self.gone)}."] if self.gone else []
        return " ".join([*told, *(f"Not removed: {name}: {reason}" for name, reason in self.stays.items())])


def prune_all(
    stack: Stack, left: Iterable[MoveRecord], begun: Iterable[MoveRecord], *, discard: bool, check: bool
) -> Pruned:
    """Remove what moves left; what cannot be removed does not keep the rest.

    Args:
        stack: The stack.
        left: The moves that left a database.
        begun: Those that ended before they closed MLflow.
        discard: Whether what only a left database knows may go with it.
        check: Whether nothing is to be changed; then no database is asked.
    """
    places: list[str] = []
    gone: list[str] = []
    stays: dict[str, str] = {}
    deeds = [
        *(_removal_of_kept(stack, move, discard=discard, check=check) for move in left),
        *(_removal_of_prepared(stack, move, check=check) for move in begun),
    ]
    for name, place, deed in deeds:
        try:
            with translated("it cannot be removed"):
                deed()
        except CutoverError as error:
            stays[name] = str(error)
        else:
            gone.append(name)
            places.extend([place] if place else [])
    return Pruned(tuple(places), tuple(gone), stays)


def _removal_of_kept(
    stack: Stack, move: MoveRecord, *, discard: bool, check: bool
) -> tuple[str, str, Callable[[], None]]:
    def remove() -> None:
        if not discard:
            require_known_elsewhere(move)
        if not check:
            prune(stack, move)

    assert move.kept is not None
    return f"{move.kept}, left by the {move.title} begun at {move.id}", move.kept.place, remove


def _removal_of_prepared(
    stack: Stack, move: MoveRecord, *, check: bool
) -> tuple[str, str, Callable[[], None]]:
    def remove() -> None:
        if not check:
            give_up(stack, move)

    name = f"what the {move.title} had prepared at {move.id} and ended before closing MLflow"
    return name, move.target.place if move.made_volume else "", remove


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
            f"{stack.postgres} runs, and MLflow's database is another one: somebody uses it",
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
            f"it is not what the {move.title} left, {named(since)} since: somebody uses it",
            "Find out who does; nothing here removes it",
        )
    program.call("empty-database", "--unused")
