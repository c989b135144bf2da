# SPDX-License-Identifier: Apache-2.0
"""What a database and a store hold, in numbers, before anybody moves them."""

import os
from collections import Counter
from typing import Any

import sqlalchemy as sa

from mlflow_sftp import event_loop
from mlflow_sftp.database.database import Database, location_rows
from mlflow_sftp.errors import LocationError
from mlflow_sftp.location import Location
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.open_store import open_store
from mlflow_sftp.stores.rate_limit import RateLimiter

_COUNTED = ("experiments", "runs", "logged_models", "model_versions", "trace_info")


def database_info(database: Database) -> dict[str, Any]:
    """Entities by table and, where they have one, by lifecycle stage; and the places where locations lead.

    A place is an SFTP account, the proxy or this machine; its `path` is what its locations have in common.
    """
    with database.reading() as connection:
        return {
            "database": database.name,
            "counts": {
                name: _count(database, connection, name) for name in _COUNTED if name in database.tables
            },
            "places": _places(database, connection),
        }


def store_info(location: str, settings: Settings | None = None) -> dict[str, Any]:
    """Files, bytes and free bytes (or None) of a store; `unreadable` maps paths to reasons."""
    return event_loop.run(_store_info(location, settings or Settings.from_environment()))


async def _store_info(location: str, settings: Settings) -> dict[str, Any]:
    store = open_store(location, RateLimiter(None), settings)
    unreadable: dict[str, str] = {}
    files = size = 0
    try:
        exists = await store.exists()
        if exists:
            async for items in store.walk("", unreadable.__setitem__):
                files += sum(not item.is_directory for item in items)
                size += sum(item.size for item in items)
        return {
            "store": store.name,
            "exists": exists,
            "files": files,
            "bytes": size,
            "free_bytes": await store.free_bytes(),
            "unreadable": unreadable,
        }
    finally:
        await store.close()


def _count(database: Database, connection: sa.Connection, name: str) -> dict[str, int]:
    table = database.tables[name]
    if "lifecycle_stage" not in table.c:
        return {"total": connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0}
    stage = table.c.lifecycle_stage
    counted = connection.execute(sa.select(stage, sa.func.count()).group_by(stage))
    by_stage: dict[str, int] = {row[0]: row[1] for row in counted}
    return {"total": sum(by_stage.values()), **by_stage}


def _places(database: Database, connection: sa.Connection) -> list[dict[str, Any]]:
    locations: Counter[str] = Counter()
    common: dict[str, str] = {}
    for column in database.location_columns():
        for _, value in location_rows(database, connection, column):
            try:
                location = Location.parse(value)
            except LocationError:
                continue
            name = _place_name(location)
            locations[name] += 1
            path = location.path if location.absolute else f"/./{location.path}"
            common[name] = os.path.commonpath([common.get(name, path), path])
    return [
        {"place": name, "path": common[name], "locations": count} for name, count in locations.most_common()
    ]


def _place_name(location: Location) -> str:
    if location.kind == "local":
        return "local" if location.absolute else "local, relative"
    user = f"{location.user}@" if location.user else ""
    port = f":{location.port}" if location.port else ""
    authority = f"//{user}{location.host}{port}" if location.host else ""
    return f"{location.scheme}:{authority}"
