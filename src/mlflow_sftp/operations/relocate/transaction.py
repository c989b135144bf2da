# SPDX-License-Identifier: Apache-2.0
"""Applying a re-rooting in one transaction, reading how far an earlier one got, undoing and redoing it.

Order of writes: backup, journal, transaction. A journal without its commit changed nothing, and the
transaction is all or nothing. So after a crash at any point the rows named in the journal hold either all
their old or all their new values, and comparing them says which. No marker has to be kept in step.
"""

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from mlflow_sftp.database.database import Database
from mlflow_sftp.database.location_columns import Key
from mlflow_sftp.errors import BlockedError, DatabaseError, JournalError
from mlflow_sftp.operations.database_backup import back_up
from mlflow_sftp.operations.database_inventory import places, places_after
from mlflow_sftp.operations.relocate.journal import read_journal, write_journal
from mlflow_sftp.operations.relocate.planning import Blocked, Move, Plan, Request, make_plan
from mlflow_sftp.uri import redact

Verdict = Literal["applied", "not_applied", "diverged"]

# Below SQLite's limit of bound parameters in every version that MLflow supports.
_BATCH = 500


@dataclass(frozen=True)
class State:
    """What the database says about a journal.

    `applied`: every row still there holds its new value. `not_applied`: its old one (never committed, or
    undone). `diverged`: some rows hold neither, or both kinds occur: something else changed them since.
    """

    verdict: Verdict
    old: int
    new: int
    other: int
    gone: int

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Applied:
    """`changed` is False where there was nothing to do or the journal's transaction had been committed."""

    changed: bool
    plan: Plan
    journal: Path | None
    backup: Path | None


@dataclass(frozen=True)
class Replayed:
    """What playing a journal changed: `moves` say from what to what; `gone` rows no longer exist."""

    moves: tuple[Move, ...]
    gone: int

    @property
    def changed(self) -> bool:
        return bool(self.moves)

    @property
    def rows(self) -> int:
        return len(self.moves)


def plan(database: Database, request: Request) -> Plan:
    """What `apply` would do now. Reads only, while MLflow may go on writing."""
    with database.reading() as connection:
        return make_plan(database, connection, request)


def plan_with_places(database: Database, request: Request) -> tuple[Plan, list[str]]:
    """The plan as of `plan`, and the places that locations lead to once it is carried out, both of one moment."""
    with database.reading() as connection:
        found = make_plan(database, connection, request)
        now = places(database, connection)
    return found, places_after(now, ((move.old, move.new) for move in found.moves))


def preview(database: Database, request: Request, journal: Path, *, skip_blocked: bool = False) -> Plan:
    """The plan that `apply` would carry out with these arguments, with the same refusals; changes nothing."""
    if journal.exists() and _committed(database, request, journal):
        return Plan()
    found = plan(database, request)
    _refuse_blocked(found, skip_blocked)
    return found


def apply(
    database: Database,
    request: Request,
    journal: Path,
    *,
    backup: Path | None,
    skip_blocked: bool = False,
) -> Applied:
    """Re-root every location in one transaction.

    `journal` must not exist, except after a crash: where its transaction was committed nothing is done again,
    otherwise it is replaced. `backup` None makes no copy of the database. Raises BlockedError before anything
    is written where a row under the old root cannot move, unless `skip_blocked`.
    """
    if journal.exists() and _committed(database, request, journal):
        return Applied(changed=False, plan=Plan(), journal=journal, backup=None)
    _refuse_blocked(plan(database, request), skip_blocked)
    if backup is not None:
        back_up(database, backup)
    with database.locked() as connection:
        final = make_plan(database, connection, request)
        _refuse_blocked(final, skip_blocked)
        if not final.moves:
            return Applied(changed=False, plan=final, journal=None, backup=backup)
        write_journal(journal, _header(database, request), final.moves)
        _update(database, connection, final.moves)
    return Applied(changed=True, plan=final, journal=journal, backup=backup)


def state(database: Database, journal: Path) -> State:
    """Whether the transaction of `journal` is in the database; waits for one that is still ending."""
    with database.locked() as connection:
        return _compare(database, connection, read_journal(journal).moves)[0]


def undo(database: Database, journal: Path, *, check: bool = False) -> Replayed:
    """Give every row of `journal` its old value back, in one transaction; `check` only counts.

    Rows that are gone are left out; rows written since are not touched. Raises DatabaseError, having changed
    nothing, where a row holds neither value: a later relocation must be undone first.
    """
    record = read_journal(journal)
    reversed_moves = [Move(move.table, move.column, move.key, move.new, move.old) for move in record.moves]
    return _replay(database, journal, reversed_moves, check)


def redo(database: Database, journal: Path, *, check: bool = False) -> Replayed:
    """Give every row of `journal` its new value again, as `undo` gives it the old one, with the same refusals."""
    return _replay(database, journal, read_journal(journal).moves, check)


def _replay(database: Database, journal: Path, moves: Sequence[Move], check: bool) -> Replayed:
    with database.locked() as connection:
        found, values = _compare(database, connection, moves)
        if found.verdict == "diverged":
            raise DatabaseError(
                f"{database.name}: {found.other} rows of {journal} hold neither of their two values, {found.old} "
                f"the one to change, {found.new} the one to get",
                "undo what changed them later, or restore the backup",
            )
        pending = [move for move, value in zip(moves, values, strict=True) if value == move.old]
        if not check:
            _update(database, connection, pending)
    return Replayed(tuple(pending), found.gone)


def _committed(database: Database, request: Request, journal: Path) -> bool:
    record = read_journal(journal)
    if record.header.get("request") != request.as_dict():
        raise JournalError(f"{journal} belongs to another relocation", "give this one its own journal")
    found = state(database, journal)
    if found.verdict == "diverged":
        raise JournalError(f"{journal}: its rows were changed by something else since: {found.as_dict()}")
    return found.verdict == "applied"


def _refuse_blocked(found: Plan, skip_blocked: bool) -> None:
    unmovable = [row for row in found.blocked if not row.ambiguous]
    if unmovable and not skip_blocked:
        raise BlockedError(_blocked_message(unmovable))


def _blocked_message(unmovable: Sequence[Blocked]) -> str:
    reasons = Counter(row.reason for row in unmovable)
    first = unmovable[0]
    listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5))
    return (
        f"{len(unmovable)} locations cannot move, so nothing was changed: {listed}. First: "
        f"{first.table}.{first.column} {json.dumps(first.key)} = {redact(first.value)}"
    )


def _header(database: Database, request: Request) -> dict[str, Any]:
    return {
        "database": database.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "request": request.as_dict(),
    }


def _update(database: Database, connection: sa.Connection, moves: Iterable[Move]) -> None:
    """Change exactly the rows that still hold the old value, or raise and so roll back."""
    for (table_name, column), group in groupby(moves, key=lambda move: (move.table, move.column)):
        table = database.tables[table_name]
        conditions = [key == sa.bindparam(f"key_{key.name}") for key in table.primary_key.columns]
        statement = (
            sa.update(table)
            .where(*conditions, table.c[column] == sa.bindparam("old_value"))
            .values({column: sa.bindparam("new_value")})
        )
        rows = [
            {"old_value": move.old, "new_value": move.new, **{f"key_{k}": v for k, v in move.key.items()}}
            for move in group
        ]
        changed = connection.execute(statement, rows).rowcount
        if changed != len(rows):
            raise DatabaseError(
                f"{database.name}: {table_name}.{column}: {changed} of {len(rows)} rows took their new "
                "value; everything was rolled back"
            )


def _compare(
    database: Database, connection: sa.Connection, moves: Sequence[Move]
) -> tuple[State, list[str | None]]:
    values = _current(database, connection, moves)
    counts = Counter(_side(move, value) for move, value in zip(moves, values, strict=True))
    verdict: Verdict = "not_applied"
    if counts["other"] or (counts["old"] and counts["new"]):
        verdict = "diverged"
    elif counts["new"]:
        verdict = "applied"
    return State(verdict, counts["old"], counts["new"], counts["other"], counts["gone"]), values


def _side(move: Move, value: str | None) -> str:
    if value is None:
        return "gone"
    return {move.old: "old", move.new: "new"}.get(value, "other")


def _current(database: Database, connection: sa.Connection, moves: Sequence[Move]) -> list[str | None]:
    """The value each row holds now, None where the row is gone."""
    values: list[str | None] = []
    for (table_name, column), group in groupby(moves, key=lambda move: (move.table, move.column)):
        table = database.tables[table_name]
        keys = list(table.primary_key.columns)
        keys_of_moves = [_key_values(move.key, keys) for move in group]
        present: dict[tuple[Any, ...], str] = {}
        for start in range(0, len(keys_of_moves), _BATCH):
            query = sa.select(table.c[column], *keys).where(
                sa.tuple_(*keys).in_(keys_of_moves[start : start + _BATCH])
            )
            present.update((tuple(key), value) for value, *key in connection.execute(query))
        values.extend(present.get(key) for key in keys_of_moves)
    return values


def _key_values(key: Key, columns: Sequence[sa.Column[Any]]) -> tuple[Any, ...]:
    return tuple(key[column.name] for column in columns)
