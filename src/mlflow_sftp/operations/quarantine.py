# SPDX-License-Identifier: Apache-2.0
"""Deleting for good what audits moved aside, once nobody has missed it for long."""

import datetime
import posixpath
import re
from collections.abc import AsyncIterator, Iterable

from mlflow_sftp import event_loop
from mlflow_sftp.errors import first_error_kept
from mlflow_sftp.operations.audit import QUARANTINE, QUARANTINE_STAMP
from mlflow_sftp.operations.deletion import Deletion
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import FileProblemError, Item, Totals, parents
from mlflow_sftp.stores.open_store import Store, open_store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.transfer.concurrency import for_each, iterate

_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")


def empty_quarantine(
    location: str, *, days: float, check: bool = False, settings: Settings | None = None
) -> Deletion:
    """Delete what an audit moved aside so many days ago, or earlier, below `location`, a path or URI.

    Age counts from the audit's own time, which is the name of the directory. Raises SftpError where the server fails.
    """
    store = open_store(location, RateLimiter(None), settings or Settings.from_environment())
    limit = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    return event_loop.run(_Emptying(store, limit, check).run())


class _Emptying:
    def __init__(self, store: Store, limit: datetime.datetime, check: bool) -> None:
        self._store = store
        self._limit = limit
        self._check = check
        self._result = Deletion()

    async def run(self) -> Deletion:
        try:
            if await self._store.kind(QUARANTINE) == "directory":
                for directory in [each async for each in self._old_directories()]:
                    await self._remove(directory)
        finally:
            with first_error_kept():
                await self._store.close()
        return self._result

    async def _old_directories(self) -> AsyncIterator[str]:
        async for items in self._store.entries(QUARANTINE, self._result.kept.__setitem__, recursive=False):
            for item in items:
                name = posixpath.basename(item.path)
                if not item.is_directory or not _STAMP.fullmatch(name):
                    self._result.kept[item.path] = "no audit made it"
                elif _time_of(name) <= self._limit:
                    yield item.path

    async def _remove(self, directory: str) -> None:
        """Delete what is below a directory, then the directories that are empty, the deepest first.

        Links go themselves. What they lead to is not the quarantine's, and most likely in use.
        """
        files: list[Item] = []
        directories = [directory]
        async for items in self._store.entries(directory, self._result.kept.__setitem__):
            files += [item for item in items if not item.is_directory]
            directories += [item.path for item in items if item.is_directory]
        links = await self._links(directories)
        files = [item for item in files if links.isdisjoint(parents(item.path))]
        await for_each(iterate(files), self._remove_file, self._store.max_concurrent_files)
        if not self._check:
            for each in sorted(directories, key=lambda path: path.count("/"), reverse=True):
                if links.isdisjoint((each, *parents(each))):
                    await self._store.remove_directory(each)

    async def _links(self, directories: Iterable[str]) -> set[str]:
        """Return what a server has listed as a directory, and which is a link to one; that stays, and is told."""
        links: set[str] = set()

        async def look(directory: str) -> None:
            try:
                kind = await self._store.kind(directory)
            except FileProblemError as problem:
                kind, self._result.kept[directory] = None, str(problem)
            if kind != "directory":
                links.add(directory)
                self._result.kept.setdefault(directory, "the server lists a link as a directory")

        await for_each(iterate(directories), look, self._store.max_concurrent_files)
        return links

    async def _remove_file(self, item: Item) -> None:
        try:
            if not self._check:
                await self._store.remove_file(item.path)
        except FileProblemError as problem:
            self._result.kept[item.path] = str(problem)
            return
        self._result.count(Totals(1, item.size))


def _time_of(name: str) -> datetime.datetime:
    return datetime.datetime.strptime(name, QUARANTINE_STAMP).replace(tzinfo=datetime.UTC)
