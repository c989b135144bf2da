# SPDX-License-Identifier: Apache-2.0
"""What users deleted long ago goes for good, rows and artifacts, as with `mlflow gc`.

Unlike that, nothing is lost that somebody restores meanwhile or that the model registry still leads to, and one failure
does not end the rest. Rows go first, in a transaction that finds them deleted still; then nobody can restore what
loses its artifacts next. Which those are is in a journal before, so that what is interrupted goes on later.
"""

import contextlib
import json
import os
import posixpath
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from mlflow.exceptions import MlflowException

from mlflow_sftp.database.database import Database
from mlflow_sftp.database.durable_file import replaced_file
from mlflow_sftp.database.location_columns import TRACE_LOCATION_TAGS
from mlflow_sftp.errors import DatabaseError, JournalError, LocationError, StorageError
from mlflow_sftp.location import Location
from mlflow_sftp.operations.artifact_removal import ArtifactRemoval
from mlflow_sftp.operations.login_schema import forget_experiment
from mlflow_sftp.operations.references import (
    Entity,
    References,
    VersionsStamp,
    lock_versions,
    versions_stamp,
)
from mlflow_sftp.stores.base import Totals

FORMAT = 2
# The one that MLflow itself made, and needs.
_DEFAULT_EXPERIMENT = "0"
# So many one after the other, and the rest is not tried.
_MOST_FAILURES = 3
_UNKNOWN_AGE = "MLflow does not know when it was deleted"
_SHARED = "its artifacts are not in a directory of its own"
_RESTORABLE = "it was deleted after the backup that an undo restores"
_STRANGE = (
    "another database's journal has it, or its row went in another way; mlflow-sftp audit finds artifacts"
)
_UNREADABLE = "its location is of no kind that is known here"


@dataclass
class Due:
    """What may go; `kept` maps what is old enough and stays nevertheless to the reason.

    `versions` is of the registry that was looked at.
    """

    runs: list[Entity] = field(default_factory=list)
    models: list[Entity] = field(default_factory=list)
    experiments: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    versions: VersionsStamp | None = None


@dataclass
class Journal:
    """Whose artifacts have to follow, as the file has it.

    Attributes:
        pending: Entities of this database that go on, or whose turn has not come yet.
        strange: Entries that nothing is done with: of other databases, or with rows that went in another way.
        removed: Names of the entities, also of other databases, whose rows were removed here.
    """

    path: Path
    database: str
    pending: list[Entity] = field(default_factory=list)
    strange: list[list[str]] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)

    def note(self, pending: Collection[Entity]) -> None:
        """Write down what has to follow from now on."""
        if list(pending) != self.pending:
            self.pending = list(pending)
            self.removed &= {each.name for each in pending} | self.unknown().keys()
            _write_journal(self.path, self)

    def mark(self, entities: Collection[Entity]) -> None:
        """Write down whose rows are gone; appended, since there may be many thousands."""
        self.removed.update(each.name for each in entities)
        append_lines(self.path, [json.dumps(each.name) for each in entities])

    def resume(self, database: Database) -> list[Entity]:
        """Return those whose artifacts are to follow now; where rows are, nothing was done yet, or made undone."""
        without = _without_rows(database, self.pending)
        left = [each for each in without if each.name in self.removed]
        self.strange += [[*each, self.database] for each in without if each.name not in self.removed]
        return left

    def unknown(self) -> dict[str, str]:
        """Return the strange entries as what is kept."""
        return {f"{kind} {identifier}": _STRANGE for kind, identifier, *_ in self.strange}


@dataclass
class Collected:
    """What went, or would; `artifacts` are None where their store cannot be listed from here.

    Attributes:
        failed: Entities whose rows or artifacts could not be deleted yet, and why.
        resumed: Entities of which an earlier call had left the artifacts.
    """

    runs: int = 0
    models: int = 0
    experiments: int = 0
    resumed: int = 0
    artifacts: Totals | None = None
    kept: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON."""
        artifacts = self.artifacts._asdict() if self.artifacts is not None else None
        changed = bool(self.runs or self.models or self.experiments or self.resumed)
        return {**vars(self), "artifacts": artifacts, "changed": changed}


def collect(
    database: Database,
    tracking_uri: str,
    *,
    days: float,
    journal: Path,
    destination: str | None = None,
    before: float | None = None,
    removed: Path | None = None,
    check: bool = False,
) -> Collected:
    """Remove runs, logged models and experiments for good that have been deleted for so many days.

    Args:
        database: The server's database, on which its own functions are used.
        tracking_uri: The server, for artifacts that lie behind it.
        journal: Where it is written down, before rows go, which artifacts have to follow.
        destination: Where `mlflow-artifacts:/` is.
        before: Keep what was deleted later, in seconds since 1970: a backup from then, in which it is not deleted, may
            be restored.
        removed: File to which the ids are appended of what lost its artifacts, for `prune`.
        check: Only count.

    What cannot be deleted in the store stays in the journal, for the next call. That goes on only with the database
    that lost the rows, as its default experiment and its URI tell. Raises DatabaseError, JournalError.
    """
    old = int((time.time() - days * 86400) * 1000)
    limit = old if before is None else min(old, int(before * 1000))
    removal = ArtifactRemoval(tracking_uri, destination)
    noted = _read_journal(journal, _identity(database))
    left = noted.resume(database)
    due = _due(database, old, limit, destination)
    totals = removal.totals(each.location for each in (*left, *due.runs, *due.models))
    if check:
        return Collected(
            len(due.runs),
            len(due.models),
            len(due.experiments),
            len(left),
            artifacts=totals,
            kept={**noted.unknown(), **due.kept},
        )
    collected = Collected(resumed=len(left), artifacts=totals, kept={**noted.unknown(), **due.kept})
    if left or due.runs or due.models or due.experiments:
        with database.translate_errors("remove deleted rows"):
            _Collector(database, removal, limit, noted, destination, collected, removed).run(left, due)
    return collected


class _Collector:
    def __init__(
        self,
        database: Database,
        removal: ArtifactRemoval,
        limit: int,
        journal: Journal,
        destination: str | None,
        collected: Collected,
        removed: Path | None,
    ) -> None:
        # Imported here: it takes a second, and most often there is nothing to remove.
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        self._database = database
        # The root is for experiments to come, of which there are none.
        self._store = SqlAlchemyStore(
            database.url.render_as_string(hide_password=False), "mlflow-artifacts:/"
        )
        self._removal = removal
        self._limit = limit
        self._journal = journal
        self._destination = destination
        self._collected = collected
        self._removed = removed
        self._versions: VersionsStamp | None = None
        self._needed: dict[str, str] = {}
        self._due: list[Entity] = []
        self._failures = 0

    def run(self, left: list[Entity], due: Due) -> None:
        """Runs and models first: an experiment can go once it holds nothing."""
        self._versions, self._due = due.versions, [*due.runs, *due.models]
        self._journal.note([*left, *self._due])
        gone = [each for each in due.runs if self._attempt(each.name, self._remove_run, each)]
        self._collected.runs = len(gone)
        models = [each for each in due.models if self._attempt(each.name, self._remove_model, each)]
        self._collected.models = len(models)
        self._delete_artifacts([*left, *gone, *models])
        self._collected.experiments = sum(
            self._attempt(f"experiment {each}", self._remove_experiment, each) for each in due.experiments
        )

    def _attempt(self, name: str, remove: Callable[[Any], bool], what: object) -> bool:
        """Remove rows; one that cannot be removed does not keep the others, unless it is the database that fails."""
        if self._failures == _MOST_FAILURES:
            self._collected.failed.setdefault(
                "the rest", f"not tried after {_MOST_FAILURES} failures in a row"
            )
            return False
        try:
            with self._database.translate_errors(f"remove {name}"):
                removed = remove(what)
        except (DatabaseError, MlflowException) as error:
            self._failures += 1
            self._collected.failed[name] = " ".join(str(error).split())
            return False
        self._failures = 0
        return removed

    def _remove_run(self, run: Entity) -> bool:
        removed = False
        with self._one_transaction() as session:
            claimed = self._claim(session, "runs", "run_uuid", run.identifier, "deleted_time")
            if claimed and not self._is_needed(session, run):
                self._store._hard_delete_run(run.identifier)
                for statement in _left_behind(self._database, run.identifier):
                    session.execute(statement)
                removed = True
        if removed:
            self._journal.mark([run])
        return removed

    def _remove_model(self, model: Entity) -> bool:
        removed = False
        with self._one_transaction() as session:
            key, deleted = "model_id", "last_updated_timestamp_ms"
            claimed = self._claim(session, "logged_models", key, model.identifier, deleted)
            if claimed and not self._is_needed(session, model):
                self._store._hard_delete_logged_model(model.identifier)
                removed = True
        if removed:
            self._journal.mark([model])
        return removed

    def _remove_experiment(self, identifier: str) -> bool:
        """Remove an experiment without runs; its models and traces, deleted or not, go with it."""
        removed = False
        with self._one_transaction() as session:
            if not self._claim(session, "experiments", "experiment_id", int(identifier), "last_update_time"):
                return False
            connection = session.connection()
            location = str(_location_of(self._database, connection, identifier))
            belongings = _belongings(self._database, connection, identifier)
            needed = References(belongings, self._destination).find(
                self._database, connection, versions_only=True
            )
            if _experiment_reason(self._database, connection, identifier, needed, belongings):
                return False
            self._journal.note([*self._journal.pending, *belongings])
            for each in belongings:
                if each.kind == "model":
                    self._store._hard_delete_logged_model(each.identifier)
            forget_experiment(connection, identifier)
            self._store._hard_delete_experiment(identifier)
            removed = True
        if not removed:
            return False
        self._journal.mark(belongings)
        self._delete_artifacts(belongings)
        # SQLite gives the number to the next experiment, and with it the directory: only what is empty may go.
        self._remove_directories(lambda: self._removal.remove_directories(location, ["models", "traces", ""]))
        return True

    def _is_needed(self, session: Any, entity: Entity) -> bool:
        """Tell, from within the transaction, whether a version leads there that was made since the look at all."""
        connection = session.connection()
        stamp = versions_stamp(self._database, connection)
        if stamp != self._versions:
            self._versions = stamp
            self._needed = References(self._due, self._destination).find(
                self._database, connection, versions_only=True
            )
        if entity.name not in self._needed:
            return False
        self._collected.kept[entity.name] = self._needed[entity.name]
        return True

    def _claim(self, session: Any, table: str, key: str, identifier: object, deleted: str) -> bool:
        """Lock a row if it is deleted still, for long enough: whoever would restore it waits, and finds it gone.

        The registry is locked before, so that it is final what leads to the row's artifacts.
        """
        lock_versions(self._database, session.connection())
        rows = self._database.all_tables()[table]
        claim = sa.update(rows).where(
            rows.c[key] == identifier,
            rows.c.lifecycle_stage == "deleted",
            rows.c[deleted] <= self._limit,
        )
        return bool(session.execute(claim.values({deleted: rows.c[deleted]})).rowcount)

    @contextlib.contextmanager
    def _one_transaction(self) -> Iterator[Any]:
        """One transaction for what MLflow's functions do and what is done here: the row is claimed and goes in it."""
        make = self._store.ManagedSessionMaker
        try:
            with make(read_only=False) as session:
                self._store.ManagedSessionMaker = lambda **_: contextlib.nullcontext(session)
                yield session
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        finally:
            self._store.ManagedSessionMaker = make

    def _delete_artifacts(self, entities: Collection[Entity]) -> None:
        # Before they go, so that none is forgotten; whoever reads it looks whether they are gone.
        if self._removed is not None:
            append_lines(self._removed, [each.identifier for each in entities])
        cleared = [each for each in entities if self._delete(each)]
        self._remove_directories(
            lambda: self._removal.remove_own_directories((each.identifier, each.location) for each in cleared)
        )
        self._journal.note([each for each in self._journal.pending if each.name in self._collected.failed])

    def _remove_directories(self, remove: Callable[[], None]) -> None:
        """Remove empty directories, which are in nobody's way where that fails."""
        with contextlib.suppress(StorageError):
            remove()

    def _delete(self, entity: Entity) -> bool:
        try:
            self._removal.delete(entity.location)
        except Exception as error:
            # Others may lie elsewhere, and what fails now is tried again by the next call.
            self._collected.failed[entity.name] = " ".join(str(error).split())
            return False
        return True


def _due(database: Database, old: int, limit: int, destination: str | None) -> Due:
    """What has been deleted since before `limit`, in milliseconds since 1970, and nothing else leads to.

    What was deleted later, and before `old`, is kept with the reason.
    """
    with database.reading() as connection:
        due = Due(versions=versions_stamp(database, connection))
        runs = list(_old(connection, _deleted_runs(database), old, limit, due.kept))
        models: list[Entity] = []
        if "logged_models" in database.tables:
            models = list(_old(connection, _deleted_models(database), old, limit, due.kept))
        experiments = {
            each: _belongings(database, connection, each)
            for each in _deleted_experiments(database, connection, old, limit, due.kept)
        }
        inside = (each for belongings in experiments.values() for each in belongings)
        needed = References([*runs, *models, *inside], destination).find(database, connection)
        due.runs = list(_not_needed(runs, needed, due.kept))
        due.models = list(_not_needed(models, needed, due.kept))
        going = {each.identifier for each in due.runs}
        for identifier, belongings in experiments.items():
            if reason := _experiment_reason(database, connection, identifier, needed, belongings, going):
                due.kept[f"experiment {identifier}"] = reason
            else:
                due.experiments.append(identifier)
    return due


def _not_needed(
    entities: Iterable[Entity], needed: Mapping[str, str], kept: dict[str, str]
) -> Iterator[Entity]:
    for each in entities:
        if each.name in needed:
            kept[each.name] = needed[each.name]
        else:
            yield each


def _deleted_runs(database: Database) -> sa.Select[Any]:
    runs = database.all_tables()["runs"].c
    query = sa.select(sa.literal("run"), runs.run_uuid, runs.artifact_uri, runs.deleted_time)
    return query.where(runs.lifecycle_stage == "deleted")


def _deleted_models(database: Database) -> sa.Select[Any]:
    models = database.all_tables()["logged_models"].c
    return sa.select(
        sa.literal("model"),
        models.model_id,
        models.artifact_location,
        models.last_updated_timestamp_ms,
    ).where(models.lifecycle_stage == "deleted")


def _old(
    connection: sa.Connection,
    query: sa.Select[Any],
    old: int,
    limit: int,
    kept: dict[str, str],
) -> Iterator[Entity]:
    for kind, identifier, location, deleted in connection.execute(query):
        entity = Entity(kind, str(identifier), location or "")
        if deleted is None:
            kept[entity.name] = _UNKNOWN_AGE
        elif limit < deleted <= old:
            kept[entity.name] = _RESTORABLE
        elif deleted <= limit:
            if reason := _reason(entity):
                kept[entity.name] = reason
            else:
                yield entity


def _deleted_experiments(
    database: Database, connection: sa.Connection, old: int, limit: int, kept: dict[str, str]
) -> list[str]:
    experiments = database.all_tables()["experiments"].c
    query = sa.select(experiments.experiment_id, experiments.last_update_time).where(
        experiments.lifecycle_stage == "deleted", experiments.last_update_time <= old
    )
    found = {
        str(identifier): deleted
        for identifier, deleted in connection.execute(query)
        if str(identifier) != _DEFAULT_EXPERIMENT
    }
    kept.update({f"experiment {each}": _RESTORABLE for each, deleted in found.items() if deleted > limit})
    return [each for each, deleted in found.items() if deleted <= limit]


def _experiment_reason(
    database: Database,
    connection: sa.Connection,
    identifier: str,
    needed: Mapping[str, str],
    belongings: Iterable[Entity],
    going: Collection[str] = (),
) -> str:
    """Why a deleted experiment stays; empty where it may go once the runs that are `going` are gone.

    Args:
        needed: Names of entities that other rows lead to, with the reason.
        belongings: The models and traces that go with it.
    """
    runs = database.all_tables()["runs"].c
    held = connection.scalars(sa.select(runs.run_uuid).where(runs.experiment_id == int(identifier)))
    if any(run not in going for run in held):
        return "it holds runs that stay"
    for each in belongings:
        if reason := _reason(each) or needed.get(each.name, ""):
            return f"a {each.kind} in it stays: {reason}"
    return ""


def _belongings(database: Database, connection: sa.Connection, identifier: str) -> list[Entity]:
    """What goes with an experiment, deleted or not."""
    return [
        *_models_in(database, connection, identifier),
        *_traces_in(database, connection, identifier),
    ]


def _location_of(database: Database, connection: sa.Connection, identifier: str) -> Any:
    experiments = database.all_tables()["experiments"].c
    query = sa.select(experiments.artifact_location).where(experiments.experiment_id == int(identifier))
    return connection.scalar(query)


def _models_in(database: Database, connection: sa.Connection, identifier: str) -> list[Entity]:
    """The logged models of an experiment, deleted or not."""
    if "logged_models" not in database.all_tables():
        return []
    models = database.all_tables()["logged_models"].c
    query = sa.select(models.model_id, models.artifact_location).where(
        models.experiment_id == int(identifier)
    )
    return [Entity("model", str(model), location or "") for model, location in connection.execute(query)]


def _traces_in(database: Database, connection: sa.Connection, identifier: str) -> list[Entity]:
    """The traces of an experiment that have files in a directory of their own."""
    tables = database.all_tables()
    if "trace_info" not in tables or "trace_tags" not in tables:
        return []
    traces, tags = tables["trace_info"].c, tables["trace_tags"].c
    query = (
        sa.select(traces.request_id, tags.value)
        .join_from(tables["trace_info"], tables["trace_tags"], traces.request_id == tags.request_id)
        .where(traces.experiment_id == int(identifier), tags.key.in_(TRACE_LOCATION_TAGS))
    )
    found = [Entity("trace", str(trace), location) for trace, location in connection.execute(query)]
    return [each for each in found if _has_own_directory(each)]


def _left_behind(database: Database, run: str) -> Iterator[sa.Delete]:
    """What MLflow's own removal of a run leaves: its links to datasets, models and traces."""
    tables = database.all_tables()

    def of_run(table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.or_(table.c.source_id == run, table.c.destination_id == run)

    if "inputs" in tables:
        inputs = tables["inputs"]
        own = sa.select(inputs.c.input_uuid).where(of_run(inputs))
        yield sa.delete(tables["input_tags"]).where(tables["input_tags"].c.input_uuid.in_(own))
        yield sa.delete(inputs).where(of_run(inputs))
    if "entity_associations" in tables:
        yield sa.delete(tables["entity_associations"]).where(of_run(tables["entity_associations"]))


def _reason(entity: Entity) -> str:
    """Why an entity stays that is old enough, for what its own row says; empty where it may go."""
    if not _has_own_directory(entity):
        return _SHARED
    try:
        location = Location.parse(entity.location)
    except LocationError:
        return _UNREADABLE
    return _UNREADABLE if location.climbs or location.has_query else ""


def _has_own_directory(entity: Entity) -> bool:
    return posixpath.basename(posixpath.dirname(entity.location.rstrip("/"))) == entity.identifier


def _without_rows(database: Database, entities: Iterable[Entity]) -> list[Entity]:
    """Those whose rows are gone: of the others, nothing was done yet, or somebody made them anew."""
    keys = {
        "run": ("runs", "run_uuid"),
        "model": ("logged_models", "model_id"),
        "trace": ("trace_info", "request_id"),
    }
    tables = database.all_tables()
    with database.reading() as connection:
        return [
            each
            for each in entities
            if not _has_row(connection, tables[keys[each.kind][0]], keys[each.kind][1], each.identifier)
        ]


def _has_row(connection: sa.Connection, table: sa.Table, key: str, identifier: str) -> bool:
    query = sa.select(sa.literal(1)).where(table.c[key] == identifier)
    return connection.execute(query.limit(1)).first() is not None


def append_lines(path: Path, lines: Collection[str]) -> None:
    """Append lines to a file, which is not made for none."""
    if not lines:
        return
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def _identity(database: Database) -> str:
    """Tell a database from another one: by when MLflow first made it, which copies and backups keep, and its URI."""
    experiments = database.all_tables()["experiments"].c
    made = sa.select(experiments.creation_time).where(experiments.experiment_id == int(_DEFAULT_EXPERIMENT))
    with database.reading() as connection:
        return f"{database.name} of {connection.scalar(made)}"


def _read_journal(path: Path, database: str) -> Journal:
    journal = Journal(path, database)
    try:
        first, *marks = path.read_text().splitlines() or [""]
        found = json.loads(first)
        if found["format"] != FORMAT:
            raise JournalError(f"{path}: journal format {found['format']}, this version reads {FORMAT}")
        for kind, identifier, location, owner in found["pending"]:
            if owner == database:
                journal.pending.append(Entity(kind, identifier, location))
            else:
                journal.strange.append([kind, identifier, location, owner])
        journal.removed.update(found["removed"])
    except FileNotFoundError:
        return journal
    except OSError as error:
        raise JournalError(f"{path}: the journal cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError(
            f"{path}: this is no journal of what was removed, or it is damaged",
            "move it away; mlflow-sftp audit finds artifacts that no row leads to",
        ) from error
    for mark in marks:
        # Of the last one, a part may be missing.
        with contextlib.suppress(ValueError):
            journal.removed.add(str(json.loads(mark)))
    return journal


def _write_journal(path: Path, journal: Journal) -> None:
    pending = [[*each, journal.database] for each in journal.pending] + journal.strange
    if not pending:
        path.unlink(missing_ok=True)
        return
    with replaced_file(path) as temporary:
        noted = {"format": FORMAT, "pending": pending, "removed": sorted(journal.removed)}
        temporary.write_text(json.dumps(noted) + "\n")
