# SPDX-License-Identifier: Apache-2.0
"""Which other rows of MLflow's database lead to the artifacts of a run, a logged model or a trace."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

import sqlalchemy as sa

from mlflow_sftp.database.database import Database, location_rows
from mlflow_sftp.database.location_columns import Key, LocationColumn
from mlflow_sftp.errors import LocationError
from mlflow_sftp.location import Location, normal_parts

_VERSIONS = "model_versions"
_INTERNALLY_DELETED = "Deleted_Internal"
_KINDS = {"runs": "run", "logged_models": "model", "trace_tags": "trace"}
_KEYS = {"runs": "run_uuid", "logged_models": "model_id", "trace_tags": "request_id"}
# Between the names of a location, of whatever kind it is.
_SEPARATORS = re.compile(r"[/:?#&=]+")

_Place = tuple[str, tuple[str, ...]]


class Entity(NamedTuple):
    """What has artifacts of its own; `kind` is run, model or trace."""

    kind: str
    identifier: str
    location: str

    @property
    def name(self) -> str:
        """The entity for people."""
        return f"{self.kind} {self.identifier}"


class VersionsStamp(NamedTuple):
    """Changes whenever a version of a registered model is made, changed or deleted."""

    versions: int
    created: int | None
    changed: int | None


class References:
    """Finds which rows lead to artifacts of entities, each of which has a directory that bears its id.

    Whoever leads into such a directory names the id, however the rest is spelled. Whoever leads to a directory above it
    is found by the names of the path; user, host and port are not compared, since one server has many names.

    Args:
        entities: Those that would go.
        destination: Where `mlflow-artifacts:/` is; None where nobody knows.
    """

    def __init__(self, entities: Iterable[Entity], destination: str | None) -> None:
        self._destination = Location.parse(destination) if destination is not None else None
        self._by_id: dict[str, Entity] = {}
        self._below: dict[_Place, list[Entity]] = defaultdict(list)
        for entity in entities:
            self._by_id[entity.identifier] = entity
            for above in _and_above(self._place(entity.location)):
                self._below[above].append(entity)

    def find(
        self, database: Database, connection: sa.Connection, *, versions_only: bool = False
    ) -> dict[str, str]:
        """Return the names of the entities that other rows lead to, each with the reason to keep it."""
        found: dict[str, str] = {}
        if not self._by_id:
            return found
        for column in database.location_columns():
            if versions_only and column.table != _VERSIONS:
                continue
            for key, text in _rows(database, connection, column):
                for entity in self._led_to(column, text):
                    if not _is_own(column, key, entity):
                        found.setdefault(entity.name, f"{_owner(column, key)} needs its artifacts")
        return found

    def _led_to(self, column: LocationColumn, text: str) -> Iterator[Entity]:
        for name in names_in(text):
            if name in self._by_id:
                yield self._by_id[name]
        # Every run is below what its experiment makes locations from.
        if not column.new_runs and (place := self._place(text)) is not None:
            yield from self._below.get(place, ())

    def _place(self, text: str) -> _Place | None:
        try:
            location = Location.parse(text)
        except LocationError:
            return None
        parts = location.parts
        if location.kind == "mlflow-artifacts" and self._destination is not None:
            return self._destination.kind, normal_parts((*self._destination.parts, *parts))
        return location.kind, normal_parts(parts)


def names_in(location: str) -> list[str]:
    """Return the names that a location is made of, of whatever kind it is."""
    return _SEPARATORS.split(unquote(location))


def versions_stamp(database: Database, connection: sa.Connection) -> VersionsStamp:
    """Return a value that is another once the registry is."""
    versions = database.tables[_VERSIONS].c
    query = sa.select(
        sa.func.count(), sa.func.max(versions.creation_time), sa.func.max(versions.last_updated_time)
    ).select_from(database.tables[_VERSIONS])
    return VersionsStamp(*connection.execute(query).one())


def lock_versions(database: Database, connection: sa.Connection) -> None:
    """Let no version be made or changed until the transaction ends; of SQLite, whoever writes is alone anyway."""
    if not database.is_sqlite:
        connection.exec_driver_sql(database.lock_timeout().replace("SET", "SET LOCAL"))
        connection.exec_driver_sql(f"LOCK TABLE {_VERSIONS} IN SHARE MODE")


def _and_above(place: _Place | None) -> Iterator[_Place]:
    if place is not None:
        kind, parts = place
        for count in range(len(parts) + 1):
            yield kind, parts[:count]


def _rows(database: Database, connection: sa.Connection, column: LocationColumn) -> Iterator[tuple[Key, str]]:
    if column.table != _VERSIONS:
        yield from location_rows(database, connection, column)
        return
    table = database.tables[_VERSIONS]
    deleted = sa.select(*table.primary_key).where(table.c.current_stage == _INTERNALLY_DELETED)
    gone = {tuple(row) for row in connection.execute(deleted)}
    for key, text in location_rows(database, connection, column):
        if tuple(key.values()) not in gone:
            yield key, text


def _is_own(column: LocationColumn, key: Key, entity: Entity) -> bool:
    return _KINDS.get(column.table) == entity.kind and str(key[_KEYS[column.table]]) == entity.identifier


def _owner(column: LocationColumn, key: Key) -> str:
    if column.table == _VERSIONS:
        return f"version {key['version']} of the registered model {key['name']}"
    if column.table in _KINDS:
        return f"{_KINDS[column.table]} {key[_KEYS[column.table]]}"
    return f"{column.table.removesuffix('s')} {next(iter(key.values()))}"
