# SPDX-License-Identifier: Apache-2.0
"""What a store holds, in numbers, before anybody moves it."""

from typing import Any

from mlflow_sftp import event_loop
from mlflow_sftp.errors import first_error_kept
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import escape_undecodable
from mlflow_sftp.stores.open_store import open_store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.wire.packets import Space


def store_info(
    location: str, settings: Settings | None = None, *, with_names: bool = False
) -> dict[str, Any]:
    """Files and bytes of a store, free and all bytes of its file system (or None).

    `unreadable` maps paths to reasons. `with_names`, also `names`: the paths of all files below the store; those that
    are not UTF-8 are escaped.
    """
    return event_loop.run(_store_info(location, settings or Settings.from_environment(), with_names))


def space_info(location: str, settings: Settings | None = None) -> dict[str, Any]:
    """The same without what is in the store, which takes no more than a question."""
    return event_loop.run(_space_info(location, settings or Settings.from_environment()))


async def _space_info(location: str, settings: Settings) -> dict[str, Any]:
    store = open_store(location, RateLimiter(None), settings)
    try:
        return {"store": store.name, **_space(await store.space())}
    finally:
        with first_error_kept():
            await store.close()


def _space(space: Space | None) -> dict[str, int | None]:
    free, total = space or (None, None)
    return {"free_bytes": free, "total_bytes": total}


async def _store_info(location: str, settings: Settings, with_names: bool) -> dict[str, Any]:
    store = open_store(location, RateLimiter(None), settings)
    unreadable: dict[str, str] = {}
    names: list[str] = []
    files = size = 0
    try:
        exists = await store.exists()
        if exists:
            async for items in store.walk("", unreadable.__setitem__):
                found = [item for item in items if not item.is_directory]
                files += len(found)
                size += sum(item.size for item in found)
                names += [escape_undecodable(item.path) for item in found] if with_names else []
        return {
            "store": store.name,
            "exists": exists,
            "files": files,
            "bytes": size,
            **_space(await store.space()),
            "unreadable": unreadable,
            **({"names": names} if with_names else {}),
        }
    finally:
        with first_error_kept():
            await store.close()
