# SPDX-License-Identifier: Apache-2.0
"""Removing the temporary files of transfers that died.

A transfer that goes on slowly, or stands still for a while, must not lose its file. So age counts by the clock of the
store itself, and a file goes only if nothing of it has changed between two looks some time apart.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from mlflow_sftp import event_loop
from mlflow_sftp.errors import MissingStoreError
from mlflow_sftp.operations.deletion import Deletion, escaped
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import FileProblemError, Item, Totals
from mlflow_sftp.stores.open_store import Store, open_store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.transfer.concurrency import for_each, iterate

SECONDS_BETWEEN_LOOKS = 10.0

_UNKNOWN_CLOCK = "the store's clock cannot be read, so its age is unknown"
_UNKNOWN_AGE = "the store does not tell when it was changed"
_YOUNG = "it is too young"
_CHANGED = "it changed between two looks: a transfer goes on"


@dataclass
class CleanReport(Deletion):
    """Of temporary files; `unreadable` maps paths of what could not be looked at to the reason."""

    unreadable: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON; names that are not UTF-8 are escaped."""
        return {**super().as_dict(), "unreadable": escaped(self.unreadable)}


def clean(
    location: str,
    *,
    hours: float | None = None,
    seconds_between_looks: float = SECONDS_BETWEEN_LOOKS,
    check: bool = False,
    settings: Settings | None = None,
) -> CleanReport:
    """Remove temporary files below `location`, a path or URI, that nothing has written to for long.

    Args:
        hours: How long; by default `Settings.leftover_hours`.
        seconds_between_looks: Nothing of a file may change for so long while this watches.
        check: Only tell what would be removed.

    Raises MissingStoreError where there is no such directory, SftpError where the server fails.
    """
    settings = settings or Settings.from_environment()
    hours = settings.leftover_hours if hours is None else hours
    store = open_store(location, RateLimiter(None), settings)
    return event_loop.run(_Clean(store, hours * 3600, seconds_between_looks, check).run())


class _Clean:
    def __init__(self, store: Store, age: float, pause: float, check: bool) -> None:
        self._store = store
        self._age = age
        self._pause = pause
        self._check = check
        self._report = CleanReport()

    async def run(self) -> CleanReport:
        try:
            if not await self._store.exists():
                raise MissingStoreError(f"{self._store.name}: there is no such directory", "check the place")
            old = [item async for item in self._old_files()]
            if old:
                await asyncio.sleep(self._pause)
            await for_each(iterate(old), self._remove, self._store.max_concurrent_files)
        finally:
            await self._store.close()
        return self._report

    async def _old_files(self) -> AsyncIterator[Item]:
        """Temporary files that look dead, at a first look; of the others it is reported why they stay."""
        newest = await self._store.settled_at() - self._age
        async for items in self._store.temporary_files(self._report.unreadable.__setitem__):
            for item in items:
                if reason := _reason_to_stay(item, newest):
                    self._report.kept[item.path] = reason
                else:
                    yield item

    async def _remove(self, item: Item) -> None:
        try:
            now = await self._store.look(item.path)
            if now is None:
                return
            if now != item:
                self._report.kept[item.path] = _CHANGED
                return
            if not self._check:
                await self._store.remove_file(item.path)
        except FileProblemError as problem:
            self._report.kept[item.path] = str(problem)
            return
        self._report.count(Totals(1, item.size))


def _reason_to_stay(item: Item, newest: float) -> str:
    if newest == float("-inf"):
        return _UNKNOWN_CLOCK
    if item.changed is None:
        return _UNKNOWN_AGE
    return _YOUNG if item.changed > newest else ""
