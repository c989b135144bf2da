# SPDX-License-Identifier: Apache-2.0
"""Removing from a store what is proven to be at another one, and what nothing leads to any more.

A file goes only when both sides, read just before, hold the very bytes that a manifest of the copy recorded.
So whenever this is interrupted, every file is at the destination, and what is still at the source as well.
"""

import asyncio
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_sftp import event_loop
from mlflow_sftp.database.database import Database, location_rows
from mlflow_sftp.errors import LocationError, ManifestError, MissingStoreError, StorageError, first_error_kept
from mlflow_sftp.location import Location, normal_parts, parse_root
from mlflow_sftp.operations.manifest import Record, manifest_stores, read_manifest
from mlflow_sftp.operations.references import names_in
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import FileProblemError, Totals, escape_undecodable, parents
from mlflow_sftp.stores.local import LocalStore
from mlflow_sftp.stores.open_store import Store, open_store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.transfer import temporary_names
from mlflow_sftp.transfer.concurrency import for_each, iterate
from mlflow_sftp.transfer.directories import deepest_first

NAMED_FILES = 100

_REFERENCED = "a row of the database leads there"
_UNKNOWN = "no manifest has it"
_UNPROVEN = "no manifest says that it was copied and compared by SHA-256"
_LINK = "it is, or lies behind, a symbolic link"
_CHANGED = "it has changed since it was copied"
_DIFFERS = "the destination has other bytes"


@dataclass
class PruneReport:
    """What was deleted, or would be, and how many files stay; `reasons` counts those by why they stay.

    `kept` names the first NAMED_FILES of them; `kept_copied` counts those that a manifest has, and what is unreadable.
    """

    deleted: Totals = field(default_factory=lambda: Totals(0, 0))
    directories: int = 0
    kept_files: int = 0
    kept_copied: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return bool(self.deleted.files or self.directories)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON; names that are not UTF-8 are escaped."""
        kept = {escape_undecodable(path): reason for path, reason in self.kept.items()}
        return {**vars(self), "deleted": self.deleted._asdict(), "kept": kept, "changed": self.changed}


def prune(
    source: str,
    target: str,
    manifests: Sequence[Path],
    database: Database,
    *,
    root: str | None = None,
    working_directory: str | None = None,
    removed: Path | None = None,
    check: bool = False,
    settings: Settings | None = None,
) -> PruneReport:
    """Delete from `source` what `manifests`, of copies from there to `target`, prove to be at `target`.

    Args:
        root: How the database spells `source`, if it does so in another way.
        working_directory: Where relative paths in the database start.
        removed: Ids that `garbage.collect` has noted: what bears one goes without being at the target, if no row of
            the database names that id, and it is unchanged.
        check: Compare everything, and only tell what would be deleted.

    Directories below `source` that rows of the database lead to are kept as they are, and so is everything that
    no manifest has. Directories that became empty go, `source` itself does not. Raises StorageError
    where a manifest is of another copy or both places are one, SftpError where a server fails; what was deleted
    until then was proven.
    """
    settings = settings or Settings.from_environment()
    stores = open_store(source, RateLimiter(None), settings), open_store(target, RateLimiter(None), settings)
    roots = [parse_root(each, working_directory) for each in (source, root) if each]
    protected = _protected(database, roots, working_directory)
    gone = _gone_for_good(removed, database) if removed is not None else set()
    return event_loop.run(_Prune(*stores, protected, gone, check).run(manifests))


class _Prune:
    def __init__(
        self, source: Store, target: Store, protected: set[str], gone: set[str], check: bool
    ) -> None:
        self._source = source
        self._target = target
        self._protected = protected
        self._gone = gone
        self._check = check
        self._report = PruneReport()
        self._reasons: dict[str, str] = {}
        self._going: set[str] = set()
        self._copied_directories: set[str] = set()
        self._direct: dict[str, bool] = {"": True}

    async def run(self, manifests: Sequence[Path]) -> PruneReport:
        try:
            for manifest in manifests:
                self._refuse_other_copy(manifest)
            await self._refuse_one_store()
            for manifest in manifests:
                with closing(read_manifest(manifest)) as records:
                    await for_each(iterate(records), self._process_file, self._max_concurrent_files)
            await self._sweep()
        finally:
            for store in (self._source, self._target):
                with first_error_kept():
                    await store.close()
        return self._report

    def _max_concurrent_files(self) -> int:
        return min(self._source.max_concurrent_files(), self._target.max_concurrent_files())

    def _refuse_other_copy(self, manifest: Path) -> None:
        copied = manifest_stores(manifest)
        if copied != (escape_undecodable(self._source.name), escape_undecodable(self._target.name)):
            raise ManifestError(f"{manifest} belongs to a copy from {copied[0]} to {copied[1]}")

    async def _refuse_one_store(self) -> None:
        """Two spellings of one store would prove each other, and the file be gone from both."""
        for store in (self._source, self._target):
            if not await store.exists():
                raise MissingStoreError(
                    f"{store.name}: there is no such directory", "check source and target"
                )
        if isinstance(self._source, LocalStore) and isinstance(self._target, LocalStore):
            self._refuse_if(await asyncio.to_thread(os.path.samefile, self._source.root, self._target.root))
            return
        if self._check:
            return
        probe = temporary_names.temporary()
        await self._source.make_directory(probe)
        try:
            seen = await self._target.kind(probe)
        finally:
            with first_error_kept():
                await self._source.remove_directory(probe)
        self._refuse_if(seen is not None)

    def _refuse_if(self, one_store: bool) -> None:
        if one_store:
            raise StorageError(f"{self._source.name} and {self._target.name} are one place")

    # --- files ---

    async def _process_file(self, record: Record) -> None:
        """Delete one file, or record why it stays."""
        proven = record.state == "done" and record.sha256 is not None
        if proven:
            self._copied_directories.update(parents(record.path))
        try:
            reason = await self._delete(record) if proven else _UNPROVEN
        except FileProblemError as problem:
            reason = str(problem)
        if reason:
            self._reasons[record.path] = reason

    async def _delete(self, record: Record) -> str:
        """Delete a file, unless there is a reason to keep it; returns that."""
        path, expected = record.path, (record.size or 0, record.sha256)
        if path in self._going:
            return ""
        if self._leads_there(path):
            return _REFERENCED
        kind = await self._kind(path)
        if kind is None:
            return ""
        if kind != "file":
            return _LINK
        before = await self._source.look(path)
        if await self._source.digest(path, expected[0]) != expected:
            return _CHANGED
        if not await self._was_removed(path) and await self._digest_at_target(path, expected[0]) != expected:
            return _DIFFERS
        if await self._source.look(path) != before:
            return _CHANGED
        if self._check:
            self._going.add(path)
        else:
            await self._source.remove_file(path)
        deleted = self._report.deleted
        self._report.deleted = Totals(deleted.files + 1, deleted.bytes + expected[0])
        return ""

    async def _was_removed(self, path: str) -> bool:
        """Tell whether gc has removed a file at the target, whose run or model is gone for good."""
        return not self._gone.isdisjoint(path.split("/")) and await self._target.kind(path) is None

    async def _digest_at_target(self, path: str, size: int) -> tuple[int, str]:
        try:
            return await self._target.digest(path, size)
        except FileProblemError as problem:
            raise FileProblemError(f"the destination cannot give it: {problem}") from problem

    async def _kind(self, path: str) -> str | None:
        """What is there under this name; a link also where one is on the way."""
        if not await self._is_direct(posixpath.dirname(path)):
            return "link"
        return await self._source.kind(path)

    async def _is_direct(self, directory: str) -> bool:
        """Whether no link is on the way to a directory, or it is gone."""
        if directory not in self._direct:
            above = await self._is_direct(posixpath.dirname(directory))
            self._direct[directory] = above and await self._source.kind(directory) in ("directory", None)
        return self._direct[directory]

    def _leads_there(self, path: str) -> bool:
        return "" in self._protected or any(each in self._protected for each in (path, *parents(path)))

    # --- directories ---

    async def _sweep(self) -> None:
        """Tell which files stay, and remove the directories that lost all they had."""
        kept: dict[str, str] = {}
        listed: dict[str, str] = {}
        directories: set[str] = set()
        async for items in self._source.walk("", kept.__setitem__):
            for item in items:
                if item.is_directory:
                    directories.add(item.path)
                elif item.path not in self._going:
                    listed[item.path] = self._reason(item.path)
        unreadable = len(kept)
        kept |= listed
        self._report_kept(kept)
        self._report.kept_copied = unreadable + sum(path in self._reasons for path in kept)
        emptied = set()
        for directory in directories & self._copied_directories - {
            each for path in kept for each in parents(path)
        }:
            if not self._leads_there(directory) and await self._kind(directory) == "directory":
                emptied.add(directory)
        staying = {above for directory in directories - emptied for above in parents(directory)}
        await self._remove_directories(emptied - staying)

    async def _remove_directories(self, emptied: Iterable[str]) -> None:
        async def remove(directory: str) -> None:
            if self._check or await self._source.remove_directory(directory):
                self._report.directories += 1

        for directories in deepest_first(emptied):
            await for_each(iterate(directories), remove, self._max_concurrent_files)

    def _reason(self, path: str) -> str:
        known = self._reasons.get(path)
        return known or (_REFERENCED if self._leads_there(path) else _UNKNOWN)

    def _report_kept(self, kept: dict[str, str]) -> None:
        self._report.kept_files = len(kept)
        self._report.reasons = dict(Counter(kept.values()).most_common())
        self._report.kept = {path: kept[path] for path in sorted(kept)[:NAMED_FILES]}


def _protected(database: Database, roots: Sequence[Location], working_directory: str | None) -> set[str]:
    """Paths below the source, "" for itself, that locations in the database lead to."""
    found: set[str] = set()
    with database.reading() as connection:
        for column in database.location_columns():
            for _, value in location_rows(database, connection, column):
                try:
                    location = Location.parse(value, working_directory)
                except LocationError:
                    continue
                if not location.absolute and roots[0].kind == "local":
                    raise StorageError(
                        f"{column.name} has the relative location {value}",
                        "name the server's working directory",
                    )
                found.update(_below(location, root) for root in roots if _may_be_below(location, root))
                if location.kind == roots[0].kind == "local":
                    found.update(_really_below(location.path, roots[0].path))
    return found


def _gone_for_good(removed: Path, database: Database) -> set[str]:
    """Return the ids that gc has noted and no location of the database names any more."""
    try:
        ids = set(removed.read_text().splitlines())
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StorageError(f"{removed}: cannot be read: {error.strerror}", "") from error
    with database.reading() as connection:
        for column in database.location_columns():
            for _, value in location_rows(database, connection, column):
                ids -= set(names_in(value))
    return ids - {""}


def _may_be_below(location: Location, root: Location) -> bool:
    return location.is_under(root) or location.may_be_under(root)


def _below(location: Location, root: Location) -> str:
    return "/".join(normal_parts(location.parts)[len(normal_parts(root.parts)) :])


def _really_below(path: str, root: str) -> Iterator[str]:
    """Where a local path is below the root once links are followed, if it is."""
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    if relative != ".." and not relative.startswith("../"):
        yield "" if relative == "." else relative
