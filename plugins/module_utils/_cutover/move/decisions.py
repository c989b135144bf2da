# SPDX-License-Identifier: GPL-3.0-or-later
"""What a move or a prune of a database is to do: from what is deployed, what is asked for and what was begun before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.decisions import (
    last_done,
    require_installed,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import (
    changes,
    named,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    Database,
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    new_id,
    require_none_interrupted,
    to_resume,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store


@dataclass(frozen=True)
class Deployed:
    """What a stack runs.

    Attributes:
        database: MLflow's.
        store: Where the artifacts are.
        image: Of the MLflow server.
    """

    database: Database
    store: Store
    image: str


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        database: The one to move to; None where a move is resumed or undone.
        image: Of the MLflow server that the collection makes; empty where a move is resumed or undone.
        resume: ``finish`` or ``undo`` an interrupted move; empty for neither.
        undo: Whether the last move is to be undone.
        installed: Digest of the stack's files.
        check: Whether nothing is to be changed.
        now: The time as an id.
    """

    database: Database | None = None
    image: str = ""
    resume: str = ""
    undo: bool = False
    installed: str = ""
    check: bool = False
    now: str = ""


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        action: ``none``, ``start``, ``finish`` or ``rollback``.
        record: Of the move; None where there is nothing to do.
        deployed: The database that MLflow has.
    """

    action: str
    record: MoveRecord | None
    deployed: Database

    def __str__(self) -> str:
        if self.record is None:
            return f"Nothing to do: MLflow's database is {self.deployed} already."
        verb = {"start": "Move", "finish": "Finish the move of", "rollback": "Undo the move of"}[self.action]
        return f"{verb} the database from {self.record.source} to {self.record.target}."


def decide(deployed: Deployed, records: Sequence[Record], options: Options) -> Decision:
    """Decide what a move does.

    Raises:
        RefusedError: Nothing can be done, or somebody has to choose first.
    """
    begun = to_resume(records, MoveRecord, options.resume, check=options.check)
    if begun is not None:
        return Decision("finish" if options.resume == "finish" else "rollback", begun, deployed.database)
    if options.undo:
        return Decision("rollback", _to_undo(deployed.database, records, options), deployed.database)
    if options.database is None:
        raise RefusedError("No database is named to move to. Nothing was changed")
    if options.database == deployed.database:
        return Decision("none", None, deployed.database)
    _require_other_kind(deployed.database, options.database)
    _require_same_image(deployed.image, options.image)
    _require_free(options.database, records)
    record = MoveRecord(
        id=new_id(options.now, records),
        source=deployed.database,
        target=options.database,
        store=deployed.store,
    )
    return Decision("start", record, deployed.database)


def require_next(record: MoveRecord, deployed: Database, records: Sequence[Record]) -> None:
    """Refuse to carry out a planned move where something was done since it was planned.

    Args:
        record: Of the move, as it is on disk.
        deployed: MLflow's database now.
        records: Of the stack.

    Raises:
        RefusedError: MLflow has another database, or a cutover was planned or begun since.
    """
    if record.state != "planned":
        return
    since = [each for each in records if each.id > record.id]
    if since or deployed != record.source:
        seen = (
            f"the {since[-1].title} was" if since else f"MLflow's database is {deployed}, and something was"
        )
        raise RefusedError(
            f"Since the {record.title} was planned at {record.id}, {seen} begun. Nothing was changed",
            "Run this playbook again",
        )


def kept(records: Sequence[Record]) -> list[MoveRecord]:
    """Return the moves that left a database where it was, the earliest first."""
    return [record for record in records if isinstance(record, MoveRecord) and record.kept is not None]


def to_prune(deployed: Database, records: Sequence[Record]) -> list[MoveRecord]:
    """Return the moves whose left databases are nobody's any more, the earliest first.

    Args:
        deployed: MLflow's database.
        records: Of the stack.

    Raises:
        RefusedError: A cutover is half done.
    """
    require_none_interrupted(records)
    return [record for record in kept(records) if record.kept != deployed]


def require_known_elsewhere(record: MoveRecord) -> None:
    """Refuse to remove what a move left where MLflow's database does not know all that came in there.

    Raises:
        RefusedError: Something came in before the move was undone, or nobody can tell.
    """
    alone = known_there_alone(record)
    if alone:
        raise RefusedError(
            f"it holds what came in before the {record.title} was undone, and MLflow's database does not: {alone}",
            "Give it up with -e discard=true",
        )


def known_there_alone(record: MoveRecord) -> str:
    """Return what the database that a move left knows and MLflow's does not, for people; empty for nothing."""
    # Nobody was let in to what was never opened; but before the copy was noted, it may be somebody else's.
    if record.state != "undone" or (record.remains and record.tried):
        return ""
    return "nobody knows how much" if record.left is None else named(changes(record.known, record.left))


def to_give_up(deployed: Database, records: Sequence[Record]) -> list[MoveRecord]:
    """Return the moves that ended before they closed MLflow, the earliest first.

    Their `made_volume` says whether the volume of the stack's PostgreSQL still is of their making.
    """
    moves = [record for record in records if isinstance(record, MoveRecord)]
    # Another that got further has found no volume, and has made one of its own.
    further = max(
        (each.id for each in moves if each.state != "planned" and each.target.is_service), default=""
    )
    return [
        each.updated(made_volume=each.made_volume and each.id > further and not deployed.is_service)
        for each in moves
        if each.state == "planned"
    ]


def _to_undo(deployed: Database, records: Sequence[Record], options: Options) -> MoveRecord:
    """Return the last move, where the database from before it still is."""
    last = last_done(records, MoveRecord)
    if last.target != deployed:
        raise RefusedError(
            f"The last move led to {last.target}, and MLflow's database is {deployed}. Nothing was changed",
            "Move it with mlflow_stack_backend_store, or restore a backup",
        )
    if last.pruned:
        raise RefusedError(
            f"The database from before the last move, {last.source}, was removed by playbooks/database_prune.yml. "
            "Nothing was changed",
            "Put it into mlflow_stack_backend_store, and run this playbook without undo: that moves everything back",
        )
    require_installed(last, options.installed)
    return last


def _require_other_kind(source: Database, target: Database) -> None:
    if source.is_sqlite == target.is_sqlite:
        other = "postgresql" if source.is_sqlite else "sqlite"
        raise RefusedError(
            f"{source} and {target} are both {source.kind}, and rows are moved between SQLite and PostgreSQL only. "
            "Nothing was changed",
            f"Move to mlflow_stack_backend_store={other} first, and from there on",
        )


def _require_same_image(deployed: str, made: str) -> None:
    # Another MLflow may want another schema, and one thing at a time has a way back.
    if deployed != made:
        raise RefusedError(
            f"The deployed stack runs {deployed}; this version of the collection makes {made}. Nothing was changed",
            "Deploy that first, with mlflow_stack_backend_store as it was (site.yml, or playbooks/upgrade.yml where "
            "site.yml names it), then move",
        )


def _require_free(target: Database, records: Sequence[Record]) -> None:
    left = [record for record in kept(records) if record.kept == target]
    if left:
        raise RefusedError(
            f"{target} holds the database that the {left[-1].title}, begun at {left[-1].id}, left there. Nothing was "
            "changed",
            "playbooks/database_move.yml -e undo=true goes back to the one before, if it was the last move. To move "
            "there anew, remove what is left first: playbooks/database_prune.yml",
        )
