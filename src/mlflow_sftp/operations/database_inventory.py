# SPDX-License-Identifier: Apache-2.0
"""What MLflow's database holds, in numbers, before anybody moves it."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from mlflow_sftp.database.database import Database, location_rows
from mlflow_sftp.errors import LocationError
from mlflow_sftp.location import Location
from mlflow_sftp.operations.login_schema import GRANTS, REVISION_TABLE, user_names
from mlflow_sftp.operations.round_trip_tag import TAG
from mlflow_sftp.uri import redact

# What MLflow looks up in the database itself: no place where anything lies.
_POINTERS = ("runs:/", "models:/")
# Of a location of a kind that this package does not know.
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//[^/?#\s]*)?")
_OF_USERS = (
    *("experiments", "runs", "metrics", "params", "logged_models", "registered_models", "model_versions"),
    "trace_info",
)
# Where the round trips leave their tag.
_TAGGED = {"runs": ("tags", "run_uuid"), "experiments": ("experiment_tags", "experiment_id")}
# What MLflow writes of its own accord, while nobody uses it.
_OWN_TABLES = re.compile(r"alembic_version|jobs|job_locks|scheduler_leases|sql_.*")
_COUNTED = ("experiments", "runs", "logged_models", "model_versions", "trace_info")


def size_info(database: Database) -> dict[str, Any]:
    """The name of the database, and the bytes that it takes."""
    return {"database": database.name, "bytes": database.size()}


def database_info(database: Database, *, rows: bool = False) -> dict[str, Any]:
    """Entities by table and, where they have one, by lifecycle stage; and the places where locations lead.

    `of_users` counts what no round trip has made, deleted or not; `rows`, if asked for, the same in every table that
    MLflow does not write of its own accord, tags, aliases and assessments among them; `bytes` is the size of the
    database; `login_users` names those of MLflow's login; `identity` is another one once a restore has replaced it.

    A place is an SFTP account, a proxy, this machine, or what else a scheme and a host name; its `path` is what its
    locations have in common.
    """
    with database.reading() as connection:
        return {
            **size_info(database),
            "counts": {
                name: _count(database, connection, name) for name in _COUNTED if name in database.tables
            },
            "of_users": _of_users(database, connection),
            **({"rows": _rows(database, connection)} if rows else {}),
            "login_users": user_names(connection),
            "identity": database.identity(),
            "places": places(database, connection),
        }


def _count(database: Database, connection: sa.Connection, name: str) -> dict[str, int]:
    table = database.tables[name]
    if "lifecycle_stage" not in table.c:
        return {"total": connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0}
    stage = table.c.lifecycle_stage
    counted = connection.execute(sa.select(stage, sa.func.count()).group_by(stage))
    by_stage: dict[str, int] = {row[0]: row[1] for row in counted}
    return {"total": sum(by_stage.values()), **by_stage}


def _of_users(database: Database, connection: sa.Connection) -> dict[str, int]:
    tables, counts = database.all_tables(), {}
    for name in _OF_USERS:
        if name not in tables:
            continue
        query = sa.select(sa.func.count()).select_from(tables[name])
        if name in _TAGGED:
            tags, key = tables[_TAGGED[name][0]].c, _TAGGED[name][1]
            own = sa.select(tags[key]).where(tags.key == TAG)
            query = query.where(tables[name].c[key].not_in(own))
        counts[name] = connection.scalar(query) or 0
    return counts


def _rows(database: Database, connection: sa.Connection) -> dict[str, int]:
    tables, counts = database.all_tables(), {}
    for name in sorted(tables):
        if _OWN_TABLES.fullmatch(name):
            continue
        query = sa.select(sa.func.count()).select_from(tables[name])
        counts[name] = connection.scalar(query.where(_of_nobody_s_round_trip(tables, name))) or 0
    return counts


def _of_nobody_s_round_trip(tables: Mapping[str, sa.Table], name: str) -> sa.ColumnElement[bool]:
    """Which rows of a table belong to nothing that a round trip has made."""
    columns = tables[name].c
    if name == GRANTS and REVISION_TABLE in tables:
        # MLflow grants whoever makes an experiment MANAGE on it, by its number.
        pattern = columns.resource_pattern
        own = _tagged(tables, "experiments", pattern)
        return sa.or_(columns.resource_type != "experiment", pattern.not_in(own))
    # A run of its own may be in an experiment of others.
    for owner, (tags, key) in _TAGGED.items():
        if key in columns and tags in tables:
            return sa.or_(columns[key].is_(None), columns[key].not_in(_tagged(tables, owner, columns[key])))
    return sa.true()


def _tagged(tables: Mapping[str, sa.Table], owner: str, column: sa.Column[Any]) -> sa.Select[Any]:
    """What a round trip has made, to be compared with a column: the login's tables hold numbers as text."""
    tags, key = tables[_TAGGED[owner][0]].c, _TAGGED[owner][1]
    return sa.select(sa.cast(tags[key], column.type)).where(tags.key == TAG)


def places(database: Database, connection: sa.Connection) -> list[dict[str, Any]]:
    """Where locations lead, the place of most locations first; see `database_info`."""
    locations: Counter[str] = Counter()
    common: dict[str, str] = {}
    for column in database.location_columns():
        for _, value in location_rows(database, connection, column):
            if value.startswith(_POINTERS):
                continue
            name, path = _place(value)
            locations[name] += 1
            common[name] = os.path.commonpath([common.get(name, path), path])
    return [
        {"place": name, "path": common[name], "locations": count} for name, count in locations.most_common()
    ]


def places_after(now: list[dict[str, Any]], moves: Iterable[tuple[str, str]]) -> list[str]:
    """The places that locations lead to once those of `moves`, old and new, have changed; `now` as of `places`."""
    locations = Counter({place["place"]: place["locations"] for place in now})
    for old, new in moves:
        locations[_place(old)[0]] -= 1
        locations[_place(new)[0]] += 1
    return sorted(name for name, count in locations.items() if count > 0)


def _place(value: str) -> tuple[str, str]:
    """The name of the place that a location is at, and its path there."""
    try:
        location = Location.parse(value)
    except LocationError:
        authority = _AUTHORITY.match(redact(value))
        return (authority[0], "/") if authority else ("unreadable", "/")
    return _place_name(location), location.path if location.absolute else f"/./{location.path}"


def _place_name(location: Location) -> str:
    if location.kind == "local":
        return "local" if location.absolute else "local, relative"
    user = f"{location.user}@" if location.user else ""
    port = f":{location.port}" if location.port else ""
    authority = f"//{user}{location.host}{port}" if location.host else ""
    return f"{location.scheme}:{authority}"
