# SPDX-License-Identifier: Apache-2.0
"""Deleting what MLflow's entities have in the store, and the directories that MLflow leaves behind empty."""

import asyncio
import contextlib
import posixpath
from collections import defaultdict
from collections.abc import Collection, Iterable

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_sftp import event_loop
from mlflow_sftp.errors import LocationError, StorageError, first_error_kept
from mlflow_sftp.location import Location
from mlflow_sftp.operations.round_trip import delete_artifacts
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import Totals
from mlflow_sftp.stores.open_store import Store, open_store
from mlflow_sftp.stores.rate_limit import RateLimiter

_LISTED_AT_ONCE = 16


class ArtifactRemoval:
    """Deletes artifacts by the locations that MLflow's database has.

    Args:
        tracking_uri: The server, for artifacts that lie behind it.
        destination: Where `mlflow-artifacts:/` is, for directories; None leaves those behind it alone.
    """

    def __init__(self, tracking_uri: str, destination: str | None) -> None:
        self._tracking_uri = tracking_uri
        self._destination = destination

    def delete(self, location: str) -> None:
        """Delete all artifacts at a location, with MLflow's own store for it; raises what that raises."""
        delete_artifacts(get_artifact_repository(location, tracking_uri=self._tracking_uri))

    def remove_own_directories(self, entities: Iterable[tuple[str, str]]) -> None:
        """Remove the directories of entities, each an id and a location, that bear the id and are empty."""
        by_parent: dict[str, list[str]] = defaultdict(list)
        for identifier, location in entities:
            above, _, name = posixpath.dirname(location).rpartition("/")
            if name == identifier:
                by_parent[above].append(name)
        for above, names in by_parent.items():
            self.remove_directories(above, names)

    def remove_directories(self, location: str, names: Collection[str]) -> None:
        """Remove directories below a location; what is not empty stays."""
        directory = self._directory(location)
        if directory is None:
            return

        async def remove() -> None:
            store = _open(directory)
            try:
                for name in names:
                    await store.remove_directory(name)
            finally:
                with first_error_kept():
                    await store.close()

        event_loop.run(remove())

    def totals(self, locations: Iterable[str]) -> Totals | None:
        """Files and bytes at locations, all together; None where the store of one cannot be listed."""
        by_parent: dict[str, list[str]] = defaultdict(list)
        for location in locations:
            directory = self._directory(location)
            if directory is None:
                return None
            above, _, name = directory.rstrip("/").rpartition("/")
            above, _, identifier = above.rpartition("/")
            by_parent[above].append(f"{identifier}/{name}")
        found = []
        for above, paths in by_parent.items():
            try:
                found.append(event_loop.run(_totals(above, paths)))
            except StorageError:
                # To be told, and no reason to delete nothing elsewhere.
                return None
        if None in found:
            return None
        return Totals(sum(each.files for each in found if each), sum(each.bytes for each in found if each))

    def _directory(self, location: str) -> str | None:
        with contextlib.suppress(LocationError):
            parsed = Location.parse(location)
            if parsed.kind != "mlflow-artifacts":
                return location
            if self._destination is not None and parsed.host is None:
                return posixpath.join(self._destination, *parsed.parts)
        return None


def _open(directory: str) -> Store:
    return open_store(directory, RateLimiter(None), Settings.from_environment())


async def _totals(directory: str, paths: Collection[str]) -> Totals | None:
    store = _open(directory)
    limit = asyncio.Semaphore(_LISTED_AT_ONCE)
    unreadable: list[str] = []

    async def count(path: str) -> Totals:
        files = size = 0
        async with limit:
            if await store.kind(path) is None:
                return Totals(0, 0)
            async for items in store.walk(path, lambda where, _: unreadable.append(where)):
                files += sum(not item.is_directory for item in items)
                size += sum(item.size for item in items if not item.is_directory)
        return Totals(files, size)

    try:
        found = await asyncio.gather(*map(count, paths))
    finally:
        with first_error_kept():
            await store.close()
    if unreadable:
        return None
    return Totals(sum(each.files for each in found), sum(each.bytes for each in found))
