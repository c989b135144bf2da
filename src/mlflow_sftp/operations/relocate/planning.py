# SPDX-License-Identifier: Apache-2.0
"""What a re-rooting would change, row by row, and what it cannot change."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from mlflow_sftp.database.database import Database, location_rows
from mlflow_sftp.database.location_columns import Key, LocationColumn
from mlflow_sftp.errors import LocationError
from mlflow_sftp.location import Location, parse_root
from mlflow_sftp.uri import redact


@dataclass(frozen=True)
class Request:
    """Which locations shall move from where to where.

    `old` are the spellings of one place (a root reached by another port or name needs its own entry).
    `experiments` keeps to the rows of these experiment ids; `new_runs_only` to the columns from which MLflow
    derives locations of what is created later. `working_directory` is where relative paths in the database
    start: the MLflow server's. Raises LocationError for roots that cannot be used.
    """

    old: tuple[str, ...]
    new: str
    experiments: tuple[int, ...] | None = None
    new_runs_only: bool = False
    working_directory: str | None = None

    def __post_init__(self) -> None:
        if not self.old_roots:
            raise LocationError("name the old root")
        if any(self.new_root.is_under(old) and old.is_under(self.new_root) for old in self.old_roots):
            raise LocationError(f"{redact(self.new)}: old and new root are the same place")

    @cached_property
    def old_roots(self) -> tuple[Location, ...]:
        return tuple(parse_root(text, self.working_directory) for text in self.old)

    @cached_property
    def new_root(self) -> Location:
        return parse_root(self.new, self.working_directory)

    def as_dict(self) -> dict[str, Any]:
        """The request as JSON; roots may hold a password, as the rows do."""
        experiments = None if self.experiments is None else list(self.experiments)
        return {
            "old": list(self.old),
            "new": self.new,
            "experiments": experiments,
            "new_runs_only": self.new_runs_only,
            "working_directory": self.working_directory,
        }


@dataclass(frozen=True)
class Move:
    """One value to change; `key` names the row by its primary key."""

    table: str
    column: str
    key: Key
    old: str
    new: str


@dataclass(frozen=True)
class Blocked:
    """One value at the old root, or perhaps at it (`ambiguous`), that stays as it is."""

    table: str
    column: str
    key: Key
    value: str
    reason: str
    ambiguous: bool = False


@dataclass
class Plan:
    """The outcome of planning; `counts` is keyed by `table.column`, then by what happens to its rows.

    `already_moved` are directories, relative to the new root, of runs, models and traces that are there already.
    What the old root has under the same names is a leftover, and must not be copied over them.
    """

    moves: list[Move] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    already_moved: set[str] = field(default_factory=set)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def directories(self) -> list[tuple[str, str]]:
        """Pairs of old and new location that together hold every artifact that moves, none inside another."""
        seen: set[tuple[str | None, tuple[str, ...]]] = set()
        pairs: list[tuple[str, str]] = []
        moves = [(Location.parse(move.old), move) for move in self.moves if move.table != "workspaces"]
        for location, move in sorted(moves, key=lambda pair: len(pair[0].parts)):
            if any(
                (location.host, location.parts[:depth]) in seen for depth in range(len(location.parts) + 1)
            ):
                continue
            seen.add((location.host, location.parts))
            pairs.append((move.old, move.new))
        return pairs

    def directories_below(self, request: Request) -> list[str]:
        """The old ones of `directories`, relative to the old root that they are under; "" is the root itself."""
        locations = [Location.parse(old, request.working_directory) for old, _ in self.directories()]
        depths = [max(len(root.parts) for root in _roots_of(p, request.old_roots)) for p in locations]
        return sorted("/".join(p.parts[depth:]) for p, depth in zip(locations, depths, strict=True))

    def as_dict(self, rows: bool = True) -> dict[str, Any]:
        """The plan as JSON, passwords hidden; without `rows` only what is counted and what is blocked."""
        summary: dict[str, Any] = {
            "rows_to_move": len(self.moves),
            "tables": {name: dict(counter) for name, counter in sorted(self.counts.items())},
            "blocked": [{**asdict(row), "value": redact(row.value)} for row in self.blocked],
        }
        if rows:
            summary["moves"] = [
                {**asdict(move), "old": redact(move.old), "new": redact(move.new)} for move in self.moves
            ]
        return summary


def make_plan(database: Database, connection: sa.Connection, request: Request) -> Plan:
    """Sort every value of every location column into what moves, stays, is elsewhere or is blocked."""
    plan = Plan()
    selection = None
    if request.experiments is not None:
        selection = _Selection(database, connection, request.experiments)
    for column in database.location_columns():
        if request.new_runs_only and not column.new_runs:
            continue
        if selection is not None and column.table == "workspaces":
            continue
        _plan_column(database, connection, request, selection, column, plan)
    return plan


def _plan_column(
    database: Database,
    connection: sa.Connection,
    request: Request,
    selection: "_Selection | None",
    column: LocationColumn,
    plan: Plan,
) -> None:
    counter = plan.counts.setdefault(column.name, Counter())
    width = getattr(database.tables[column.table].c[column.column].type, "length", None)
    for key, value in location_rows(database, connection, column):
        if selection is not None and not selection.holds(column.table, key):
            counter["not_selected"] += 1
            continue
        outcome = _decide(request, column, key, value, width)
        if isinstance(outcome, Move):
            plan.moves.append(outcome)
            counter["move"] += 1
        elif isinstance(outcome, Blocked):
            plan.blocked.append(outcome)
            counter["ambiguous" if outcome.ambiguous else "blocked"] += 1
        else:
            counter[outcome] += 1
            if outcome == "moved" and not column.new_runs:
                parts = Location.parse(value, request.working_directory).parts
                plan.already_moved.add("/".join(parts[len(request.new_root.parts) :]))


def _decide(
    request: Request, column: LocationColumn, key: Key, value: str, width: int | None
) -> Move | Blocked | str:
    """A move, why there is none, or "moved" (already under the new root) or "elsewhere"."""
    try:
        location = Location.parse(value, request.working_directory)
    except LocationError:
        return "elsewhere"
    inner = any(request.new_root.is_under(old) for old in request.old_roots)
    if location.is_under(request.new_root) and (inner or not _roots_of(location, request.old_roots)):
        return "moved"
    roots = _roots_of(location, request.old_roots)
    if not roots:
        return _ambiguous(request, column, key, value, location) or "elsewhere"
    try:
        new = location.spelled_below(max(roots, key=lambda root: len(root.parts)), request.new_root)
    except LocationError as error:
        return Blocked(column.table, column.column, key, value, str(error))
    if width is not None and len(new) > width:
        reason = f"longer than the {width} characters of {column.name}: use a shorter root"
        return Blocked(column.table, column.column, key, value, reason)
    return Move(column.table, column.column, key, value, new)


def _roots_of(location: Location, roots: Sequence[Location]) -> list[Location]:
    return [root for root in roots if location.is_under(root)]


def _ambiguous(
    request: Request, column: LocationColumn, key: Key, value: str, location: Location
) -> Blocked | None:
    if not any(location.may_be_under(root) for root in request.old_roots):
        return None
    if location.kind != "mlflow-artifacts":
        reason = (
            "same host and path, other user or port: if it is the same place, name it as a further old root"
        )
        return Blocked(column.table, column.column, key, value, reason, ambiguous=True)
    reason = (
        "it names a proxy that may be this MLflow server: name it as a further old root if it is, or give these rows "
        "another location"
    )
    # Once the server serves no artifacts any more nobody could read it.
    stays_readable = request.new_root.kind == "mlflow-artifacts"
    return Blocked(column.table, column.column, key, value, reason, ambiguous=stays_readable)


# The key column by which a row is found among the members of the selected experiments.
_OWNER_KEYS = {"runs": "run_uuid", "logged_models": "model_id", "trace_tags": "request_id"}


class _Selection:
    """The rows that belong to some experiments."""

    def __init__(self, database: Database, connection: sa.Connection, experiments: Sequence[int]) -> None:
        self._experiments = set(experiments)
        tables = database.tables
        self._members = {
            "runs": self._ids(connection, tables.get("runs"), "run_uuid"),
            "logged_models": self._ids(connection, tables.get("logged_models"), "model_id"),
            "trace_tags": self._ids(connection, tables.get("trace_info"), "request_id"),
        }
        self._versions = self._version_keys(connection, tables["model_versions"])

    def holds(self, table: str, key: Key) -> bool:
        if table == "experiments":
            return key["experiment_id"] in self._experiments
        if table == "model_versions":
            return tuple(key.values()) in self._versions
        return key[_OWNER_KEYS[table]] in self._members[table]

    def _ids(self, connection: sa.Connection, table: sa.Table | None, column: str) -> set[str]:
        if table is None:
            return set()
        return set(
            connection.scalars(sa.select(table.c[column]).where(table.c.experiment_id.in_(self._experiments)))
        )

    def _version_keys(self, connection: sa.Connection, table: sa.Table) -> set[tuple[str | int, ...]]:
        """A version belongs to the experiment of its run or of the logged model it was registered from."""
        models = {f"models:/{model}" for model in self._members["logged_models"]}
        query = sa.select(table.c.run_id, table.c.source, *table.primary_key.columns)
        return {
            tuple(key)
            for run, source, *key in connection.execute(query)
            if run in self._members["runs"] or (source or "").rstrip("/") in models
        }
