# SPDX-License-Identifier: Apache-2.0
"""Copying one tree, or one file, to another store, verified file by file, resumable at any point."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlflow_sftp import event_loop
from mlflow_sftp.errors import (
    InvalidPathError,
    LocalError,
    LocationError,
    MissingStoreError,
    NotFoundError,
    PermissionRefusedError,
    StorageError,
)
from mlflow_sftp.location import Location
from mlflow_sftp.operations.manifest import Manifest, Work
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import FileProblemError, Item, Totals, escape_undecodable
from mlflow_sftp.stores.local import LocalStore, copy_local
from mlflow_sftp.stores.mlflow_names import is_readable_locally
from mlflow_sftp.stores.open_store import Store, open_store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.stores.sftp import SftpStore
from mlflow_sftp.transfer.concurrency import for_each, iterate
from mlflow_sftp.transfer.download import get_file
from mlflow_sftp.transfer.upload import put_file
from mlflow_sftp.uri import redact

Verify = Literal["sha256", "size"]
OnProgress = Callable[["Progress"], None]

_ATTEMPTS = 3
_NOTHING = Totals(0, 0)
# What a server says of one file; anything else it says stops the copy.
_UNREADABLE = (NotFoundError, PermissionRefusedError, InvalidPathError)


@dataclass
class Progress:
    """How far a copy is; totals are known once both sides are listed. Times are seconds."""

    files: int = 0
    bytes: int = 0
    total_files: int = 0
    total_bytes: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Bytes a second so far."""
        return self.bytes / max(self.seconds, 1e-3)

    @property
    def share(self) -> float:
        """What is done, from 0 to 1, by files or by bytes, whichever is less."""
        counts = (self.files, self.total_files), (self.bytes, self.total_bytes)
        return min((done / total for done, total in counts if total), default=1.0)

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the share that is done; None while that is nothing."""
        share = self.share
        return self.seconds * (1 - share) / share if share else None

    def as_dict(self) -> dict[str, Any]:
        """The numbers as JSON: bytes, seconds, bytes a second."""
        left = self.seconds_left
        return {
            "files": self.files,
            "bytes": self.bytes,
            "total_files": self.total_files,
            "total_bytes": self.total_bytes,
            "rate": round(self.rate),
            "seconds": round(self.seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
        }


@dataclass
class CopyReport:
    """What a copy did; `failed` maps a source path to the reason why it is not at the target.

    `total` is what the source holds, `copied` what was sent, `equal` what was found to be there already; the rest
    was done before and is unchanged, as the manifest knows. `extra` files are at the target only. Of those that failed,
    `unreadable_names` have a name that MLflow could not read at the target.
    """

    total: Totals
    copied: Totals = _NOTHING
    equal: Totals = _NOTHING
    extra: int = 0
    unreadable_names: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        return self.copied.files > 0

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON; names that are not UTF-8 are escaped."""
        totals = {name: getattr(self, name)._asdict() for name in ("total", "copied", "equal")}
        failed = {escape_undecodable(path): reason for path, reason in self.failed.items()}
        return {**asdict(self), **totals, "failed": failed, "changed": self.changed}


def copy(
    source: str,
    target: str,
    *,
    manifest: Path | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    for_mlflow: bool = False,
    verify: Verify = "sha256",
    bandwidth: float | None = None,
    check: bool = False,
    settings: Settings | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> CopyReport:
    """Copy the file `source`, or everything below the directory, to `target`, which names the copy itself.

    Each of the two is a path, a `file:` or an `sftp:` URI.

    Args:
        manifest: File that remembers what is done, so that a later call only does the rest.
        include: Relative paths below the directory `source` to keep to.
        exclude: Relative paths of directories to leave out, with all that is below them.
        for_mlflow: MLflow is to read the copy as its artifact root. What it could read from an SFTP server, but not
            from a local directory because of its name, is not copied but reported.
        verify: "sha256" reads every file back, "size" only compares sizes.
        bandwidth: Bytes a second at most for what is sent; reading back is not counted.
        check: Only list both sides; the report says what would be copied and compared.

    Files that cannot be read or vanish are reported. Whatever stops the copy as a whole is raised, as
    SftpError or StorageError; what was done until then is in the manifest.
    """
    _refuse_nesting(source, target)
    limiter = RateLimiter(bandwidth)
    settings = settings or Settings.from_environment()
    stores = open_store(source, limiter, settings), open_store(target, limiter, settings)
    checks_names = for_mlflow and isinstance(stores[0], SftpStore) and isinstance(stores[1], LocalStore)
    work = _Copy(*stores, limiter, verify, on_progress, checks_names)
    return event_loop.run(work.run(manifest, include, frozenset(exclude), check))


class _Copy:
    def __init__(
        self,
        source: Store,
        target: Store,
        limiter: RateLimiter,
        verify: Verify,
        on_progress: OnProgress,
        checks_names: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._limiter = limiter
        self._verify = verify
        self._on_progress = on_progress
        self._for_mlflow = checks_names
        self._progress = Progress()
        self._report = CopyReport(_NOTHING)
        self._transfer = _transfer(source, target, limiter)
        self._is_file = False

    async def run(
        self, path: Path | None, include: tuple[str, ...], exclude: frozenset[str], check: bool
    ) -> CopyReport:
        try:
            with Manifest(path, self._source.name, self._target.name, keep=not check) as self._manifest:
                await self._list(include, exclude)
                if check:
                    self._preview()
                else:
                    await self._work()
        finally:
            await self._source.close()
            await self._target.close()
        self._report.seconds = round(self._progress.seconds, 3)
        return self._report

    async def _list(self, include: tuple[str, ...], exclude: frozenset[str]) -> None:
        if await self._source.exists():
            await self._list_trees(include or ("",), exclude)
        else:
            await self._list_files()
        self._report.total = self._manifest.totals()
        self._report.extra = self._manifest.extra()

    async def _list_trees(self, tops: tuple[str, ...], exclude: frozenset[str]) -> None:
        def list_source(items: list[Item]) -> None:
            included = (item for item in items if not _is_below(item.path, exclude))
            self._manifest.list_source(item for item in included if not self._is_unreadable_name(item))

        for top in tops:
            await self._list_side(self._source, top, list_source, self._failed)
        if await self._target.exists():
            for top in tops:
                await self._list_side(
                    self._target, top, self._manifest.list_target, lambda path, reason: None
                )
        elif await self._target.file() is not None:
            raise StorageError(f"{self._target.name}: is a file, and what is copied is a directory")

    def _is_unreadable_name(self, item: Item) -> bool:
        if not self._for_mlflow or is_readable_locally(item.path):
            return False
        if not item.is_directory:
            self._report.unreadable_names += 1
            self._failed(item.path, "MLflow's local store cannot read a file of this name")
        return True

    async def _list_files(self) -> None:
        file = await self._source.file()
        if file is None:
            raise MissingStoreError(
                f"{self._source.name}: there is no such file or directory to copy from", "check the source"
            )
        if await self._target.exists():
            raise StorageError(f"{self._target.name}: is a directory; name the copy of the file itself")
        self._manifest.list_source([file])
        there = await self._target.file()
        self._manifest.list_target([there] if there else [])
        self._is_file = True

    @staticmethod
    async def _list_side(
        store: Store,
        top: str,
        record: Callable[[list[Item]], None],
        on_unreadable: Callable[[str, str], None],
    ) -> None:
        try:
            async for items in store.walk(top, on_unreadable):
                record(items)
        except NotFoundError:
            on_unreadable(top, "it is gone")

    def _preview(self) -> None:
        self._report.copied = self._manifest.to_copy()
        self._report.equal = self._manifest.to_compare()

    async def _work(self) -> None:
        to_copy, to_compare = self._manifest.to_copy(), self._manifest.to_compare()
        self._progress.total_files = to_copy.files + to_compare.files
        self._progress.total_bytes = to_copy.bytes + to_compare.bytes
        self._on_progress(self._progress)
        if not self._is_file:
            await self._target.make_directory("")

        def max_concurrent_files() -> int:
            return min(self._source.max_concurrent_files(), self._target.max_concurrent_files())

        await for_each(
            iterate(self._manifest.missing_directories()), self._target.make_directory, max_concurrent_files
        )
        await for_each(_pages(self._manifest), self._process_file, max_concurrent_files)

    async def _process_file(self, work: Work) -> None:
        """Bring one file to the target, or report why not."""
        try:
            await self._copy_verified(work)
        except FileProblemError as problem:
            self._failed(work.path, str(problem))
        self._progress.files += 1
        self._on_progress(self._progress)

    async def _copy_verified(self, work: Work) -> None:
        if self._verify == "size":
            await self._copy_by_size(work)
            return
        size, sha256 = await self._source.digest(work.path, work.size)
        if work.at_target == size and await self._is_there(work.path, size, sha256):
            self._report.equal = _plus(self._report.equal, size)
            self._count(size)
            self._manifest.done(work, size, sha256)
            return
        for _ in range(_ATTEMPTS):
            await self._transfer(work.path, self._count)
            if await self._is_there(work.path, size, sha256):
                self._report.copied = _plus(self._report.copied, size)
                self._manifest.done(work, size, sha256)
                return
            # Either it was written to meanwhile, or it did not arrive as it was: the source tells.
            size, sha256 = await self._source.digest(work.path, size)
        raise FileProblemError(f"after {_ATTEMPTS} copies the target still differs from the source")

    async def _copy_by_size(self, work: Work) -> None:
        """Send what the target lacks or has in another size; the transfer itself checks sizes."""
        if work.at_target == work.size:
            self._report.equal = _plus(self._report.equal, work.size)
            self._count(work.size)
        else:
            await self._transfer(work.path, self._count)
            self._report.copied = _plus(self._report.copied, work.size)
        self._manifest.done(work, work.size, None)

    async def _is_there(self, path: str, size: int, sha256: str) -> bool:
        try:
            return await self._target.digest(path, size) == (size, sha256)
        except FileProblemError:
            return False

    def _count(self, size: int) -> None:
        self._progress.bytes += size
        self._on_progress(self._progress)

    def _failed(self, path: str, reason: str) -> None:
        self._report.failed[path] = reason
        self._manifest.failed(path, reason)


def _is_below(path: str, directories: frozenset[str]) -> bool:
    """Whether `path` is one of `directories` or inside of one."""
    if not directories:
        return False
    names = path.split("/")
    return any("/".join(names[:depth]) in directories for depth in range(1, len(names) + 1))


async def _pages(manifest: Manifest) -> AsyncIterator[Work]:
    for work in manifest.work():
        yield work


def _transfer(
    source: Store, target: Store, limiter: RateLimiter
) -> Callable[[str, Callable[[int], None]], Awaitable[None]]:
    """The function that brings one file, by its relative path, from `source` to `target`."""

    async def within(path: str, report: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()

        def on_bytes(size: int) -> None:
            loop.call_soon_threadsafe(report, size)

        try:
            await asyncio.to_thread(copy_local, source.path(path), target.path(path), limiter, on_bytes)
        except OSError as error:
            if error.filename == source.path(path):
                raise FileProblemError(str(error.strerror)) from error
            raise StorageError(f"cannot write {target.path(path)}: {error.strerror}") from error

    async def up(path: str, report: Callable[[int], None]) -> None:
        assert isinstance(target, SftpStore)
        try:
            await put_file(target.remote, source.path(path), target.path(path), report)
        except LocalError as error:
            raise FileProblemError(error.seen) from error

    async def down(path: str, report: Callable[[int], None]) -> None:
        assert isinstance(source, SftpStore)
        if not path:
            os.makedirs(os.path.dirname(target.root), exist_ok=True)
        try:
            await get_file(source.remote, source.path(path), target.path(path), report)
        except _UNREADABLE as error:
            raise FileProblemError(error.seen) from error

    async def across(path: str, report: Callable[[int], None]) -> None:
        assert isinstance(source, SftpStore)
        assert isinstance(target, SftpStore)
        with tempfile.TemporaryDirectory(prefix="mlflow-sftp-") as directory:
            passing = f"{directory}/file"
            try:
                await get_file(source.remote, source.path(path), passing)
            except _UNREADABLE as error:
                raise FileProblemError(error.seen) from error
            await put_file(target.remote, passing, target.path(path), report)

    if isinstance(source, LocalStore):
        return within if isinstance(target, LocalStore) else up
    return down if isinstance(target, LocalStore) else across


def _refuse_nesting(source: str, target: str) -> None:
    one, other = Location.parse(source), Location.parse(target)
    if one.is_under(other) or other.is_under(one):
        raise LocationError(
            f"{redact(source)} and {redact(target)}: one lies in the other", "name two that lie apart"
        )


def _plus(totals: Totals, size: int) -> Totals:
    return Totals(totals.files + 1, totals.bytes + size)
