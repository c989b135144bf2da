# SPDX-License-Identifier: Apache-2.0
"""Copying one tree, or one file, to another store, verified file by file, resumable at any point."""

import posixpath
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlflow_sftp import event_loop
from mlflow_sftp.errors import (
    InvalidPathError,
    LocationError,
    MissingStoreError,
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    StorageError,
)
from mlflow_sftp.location import Location
from mlflow_sftp.operations import name_folding
from mlflow_sftp.operations.file_copy import file_copier
from mlflow_sftp.operations.manifest import Difference, Manifest, Record, Work
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import FileProblemError, Item, Totals, escape_undecodable, parents
from mlflow_sftp.stores.local import LocalStore
from mlflow_sftp.stores.mlflow_names import is_readable_locally
from mlflow_sftp.stores.open_store import Store, open_store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.stores.sftp import SftpStore
from mlflow_sftp.transfer.concurrency import for_each, iterate
from mlflow_sftp.uri import redact

Verify = Literal["sha256", "size"]
OnProgress = Callable[["Progress"], None]

_ATTEMPTS = 3
_NOTHING = Totals(0, 0)
# What a server says of one directory; anything else it says stops the copy.
_UNREADABLE = (NotFoundError, PermissionRefusedError, InvalidPathError)
_NEVER = float("inf")
# What opening, closing and naming a file takes, as the bytes that a link carries meanwhile: about.
_COST_OF_A_FILE = 64 << 10
# So many failures without a reason, one after the other, are not about each file.
_MOST_FAILURES_IN_A_ROW = 20


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
        """What is done, from 0 to 1, of the bytes and of what each file costs besides them."""
        total = self.total_bytes + self.total_files * _COST_OF_A_FILE
        return min(1.0, (self.bytes + self.files * _COST_OF_A_FILE) / total) if total else 1.0

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
    trust_target: bool = False,
    only_missing: bool = False,
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
        trust_target: Where the last copy with this manifest, below the same directories, left nothing behind, take the
            target for what it was then: it is not listed, and in the end only those directories are to which something
            was brought. What somebody else did there since is not noticed. Otherwise this changes nothing.
        only_missing: Leave files alone that the target lists, whatever they hold.
        check: Only list both sides; the report says what would be copied and compared.

    Whatever is not at the target in the end is reported: what cannot be read, written or listed, links that cannot be
    followed, what is neither a file nor a directory, names that clash at the target or are one there. Names and sizes
    at the target are compared once more in the end. Whatever stops the copy as a whole is raised, as SftpError or
    StorageError; what was done until then is in the manifest.
    """
    _refuse_nesting(source, target)
    limiter = RateLimiter(bandwidth)
    settings = settings or Settings.from_environment()
    stores = open_store(source, limiter, settings), open_store(target, limiter, settings)
    checks_names = for_mlflow and isinstance(stores[0], SftpStore) and isinstance(stores[1], LocalStore)
    work = _Copy(*stores, limiter, verify, on_progress, checks_names, only_missing)
    return event_loop.run(work.run(manifest, include, frozenset(exclude), check, trust_target))


class _Copy:
    def __init__(
        self,
        source: Store,
        target: Store,
        limiter: RateLimiter,
        verify: Verify,
        on_progress: OnProgress,
        checks_names: bool,
        only_missing: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._verify = verify
        self._on_progress = on_progress
        self._for_mlflow = checks_names
        self._only_missing = only_missing
        self._progress = Progress()
        self._report = CopyReport(_NOTHING)
        self._copy_file = file_copier(source, target, limiter)
        self._is_file = False
        self._tops = frozenset({""})
        self._folding: name_folding.Folding | None = None
        self._failures_in_a_row = 0
        self._made_directories = False
        self._complete_below: list[str] | None = None
        self._trusts_listing = False
        # Where that is trusted: directories of the target to which something was brought since.
        self._touched: set[str] = set()

    async def run(
        self,
        path: Path | None,
        include: tuple[str, ...],
        exclude: frozenset[str],
        check: bool,
        trust_target: bool,
    ) -> CopyReport:
        with Manifest(path, self._source.name, self._target.name, keep=not check) as self._manifest:
            complete_below = self._manifest.begin()
            self._complete_below = complete_below if trust_target else None
            # What is only listed, or not remembered, needs no clock.
            settled_at = _NEVER if check or path is None else None
            work = self._run(include, exclude, check, settled_at)
            await _closing(work, self._source.close, self._close_target)
            if not check and self._is_complete():
                self._manifest.complete(self._tops)
        self._report.seconds = round(self._progress.seconds, 3)
        return self._report

    async def _run(
        self, include: tuple[str, ...], exclude: frozenset[str], check: bool, settled_at: float | None
    ) -> None:
        # By the source's clock before it is listed.
        settled_at = await self._source.settled_at() if settled_at is None else settled_at
        await self._list(include, exclude, settled_at)
        if check:
            self._preview()
        else:
            await self._refuse_same_names()
            await self._work()
            await self._compare_names()

    async def _close_target(self) -> None:
        try:
            await self._target.close()
        except StorageError:
            self._manifest.distrust()
            raise

    # --- what there is ---

    async def _list(self, include: tuple[str, ...], exclude: frozenset[str], settled_at: float) -> None:
        if await self._source.exists():
            await self._list_trees(include or ("",), exclude, settled_at)
        else:
            await self._list_files(settled_at)
        self._report.total = self._manifest.totals()
        self._report.extra = self._manifest.extra()
        for path, reason in self._manifest.clashes():
            self._leave_out(path, reason)
        if self._only_missing:
            self._manifest.leave_out_present()

    async def _list_trees(self, tops: tuple[str, ...], exclude: frozenset[str], settled_at: float) -> None:
        def list_source(items: list[Item]) -> None:
            included = (item for item in items if not _is_below(item.path, exclude))
            readable = (item for item in included if not self._is_unreadable_name(item))
            self._manifest.list_source(readable, settled_at)

        def left_out(path: str, reason: str) -> None:
            if not _is_below(path, exclude):
                self._failed(path, reason)

        self._tops = frozenset(tops)
        for top in sorted(self._tops):
            await self._list_side(self._source, top, list_source, left_out)
        await self._find_target()

    async def _find_target(self) -> None:
        is_there = await self._target.exists()
        if is_there and self._complete_below == sorted(self._tops):
            self._trusts_listing = True
            return
        self._manifest.forget_target()
        if is_there:
            # What cannot be listed there now is sent, and reported if it cannot be listed in the end.
            await self._list_target(lambda path, reason: None)
        elif await self._target.file() is not None:
            raise StorageError(f"{self._target.name}: is a file, and what is copied is a directory")

    async def _list_target(self, on_unreadable: Callable[[str, str], None]) -> None:
        for top in sorted(self._tops):
            await self._list_side(self._target, top, self._manifest.list_target, on_unreadable)

    def _is_unreadable_name(self, item: Item) -> bool:
        if not self._for_mlflow or is_readable_locally(item.path):
            return False
        if not item.is_directory:
            self._report.unreadable_names += 1
            self._failed(item.path, "MLflow's local store cannot read a file of this name")
        return True

    async def _list_files(self, settled_at: float) -> None:
        file = await self._source.file()
        if file is None:
            raise MissingStoreError(
                f"{self._source.name}: there is no such file or directory to copy from", "check the source"
            )
        if await self._target.exists():
            raise StorageError(f"{self._target.name}: is a directory; name the copy of the file itself")
        self._manifest.list_source([file], settled_at)
        await self._list_target_file()
        self._is_file = True

    async def _list_target_file(self) -> None:
        self._manifest.forget_target()
        there = await self._target.file()
        self._manifest.list_target([there] if there else [])

    async def _list_side(
        self,
        store: Store,
        top: str,
        record: Callable[[list[Item]], None],
        on_unreadable: Callable[[str, str], None],
        *,
        recursive: bool = True,
    ) -> None:
        lacking: set[str] = set()

        def lacks(path: str, reason: str) -> None:
            lacking.add(path)
            on_unreadable(path, reason)

        try:
            async for items in store.walk(top, lacks, recursive=recursive):
                record(items)
        except NotFoundError:
            lacks(top, "it is gone")
        except _UNREADABLE as error:
            if not top:
                raise
            lacks(top, error.seen)
        if top and top in self._tops and top not in lacking:
            record([Item(top, True, 0, "")])

    def _preview(self) -> None:
        self._report.copied = self._manifest.to_copy()
        self._report.equal = self._manifest.to_compare()

    # --- names that are one at the target ---

    async def _refuse_same_names(self) -> None:
        """Leave out what would take the name of something else at a target that folds names."""
        if self._is_file or not self._manifest.same_names(name_folding.ANY.key):
            return
        await self._target.make_directory("")
        folding = await self._find_folding()
        for group in self._manifest.same_names(folding.key):
            at_source = [path for path in group if self._manifest.is_at_source(path)]
            for path in at_source:
                other = next(each for each in group if each != path)
                if len(at_source) > 1 or not self._manifest.is_spelled(path, other):
                    self._leave_out(path, f"at the target its name and that of {other!r} are one")

    async def _find_folding(self) -> name_folding.Folding:
        if self._folding is None:
            self._folding = await name_folding.find_out(self._target)
        return self._folding

    def _folds_names(self) -> bool:
        """Whether the target has been found to: names it lists then need not be those it was given."""
        return self._folding not in (None, name_folding.NONE)

    # --- the copy itself ---

    async def _work(self) -> None:
        to_copy, to_compare = self._manifest.to_copy(), self._manifest.to_compare()
        self._progress.total_files = to_copy.files + to_compare.files
        self._progress.total_bytes = to_copy.bytes + to_compare.bytes
        self._on_progress(self._progress)
        self._target.begin_writing()
        if not self._is_file:
            await self._target.make_directory("")
        await for_each(
            iterate(self._manifest.missing_directories()), self._make_directory, self._max_concurrent_files
        )
        await for_each(_pages(self._manifest), self._process_file, self._max_concurrent_files)

    def _max_concurrent_files(self) -> int:
        return min(self._source.max_concurrent_files(), self._target.max_concurrent_files())

    async def _make_directory(self, path: str) -> None:
        try:
            await self._target.make_directory(path)
            self._made_directories = True
            self._touch(path if path in self._tops else posixpath.dirname(path))
        except (FileProblemError, ServerFailureError, *_UNREADABLE) as error:
            self._leave_out(path, f"at the target: {error.seen}")

    async def _process_file(self, work: Work) -> None:
        """Bring one file to the target, or report why not."""
        self._touch(posixpath.dirname(work.path))
        try:
            await self._copy_verified(work)
            self._failures_in_a_row = 0
        except FileProblemError as problem:
            self._failed(work.path, str(problem))
            self._stop_if_everything_fails(problem)
        self._progress.files += 1
        self._on_progress(self._progress)

    def _touch(self, directory: str) -> None:
        if self._trusts_listing:
            self._touched.add(directory)

    def _stop_if_everything_fails(self, problem: FileProblemError) -> None:
        reason = problem.__cause__
        if isinstance(reason, ServerFailureError):
            self._failures_in_a_row += 1
            if self._failures_in_a_row > _MOST_FAILURES_IN_A_ROW:
                raise reason

    async def _copy_verified(self, work: Work) -> None:
        if self._verify == "size":
            await self._copy_by_size(work)
            return
        size, sha256 = await self._source.digest(work.path, work.size)
        if work.at_target == size and await self._digest_at_target(work.path, size) == (size, sha256):
            self._report.equal = _plus(self._report.equal, size)
            self._count(size)
            self._manifest.done(work, size, sha256)
            return
        for _ in range(_ATTEMPTS):
            await self._copy_file(work.path, self._count)
            there = await self._digest_at_target(work.path, size)
            if there != (size, sha256):
                # Either it was written to meanwhile, or it did not arrive as it was: the source tells.
                size, sha256 = await self._source.digest(work.path, size)
            if there is not None and await self._begins_with(work.path, (size, sha256), there):
                self._report.copied = _plus(self._report.copied, there[0])
                self._manifest.done(work, *there)
                return
        raise FileProblemError(f"after {_ATTEMPTS} copies the target still differs from the source")

    async def _begins_with(self, path: str, source: tuple[int, str], there: tuple[int, str]) -> bool:
        """Whether the target has the file as the source has it, or had it before it grew."""
        if there[0] >= source[0]:
            return there == source
        return await self._source.digest_of_beginning(path, there[0]) == there[1]

    async def _copy_by_size(self, work: Work) -> None:
        """Send what the target lacks or has in another size; the transfer itself checks sizes."""
        if work.at_target == work.size:
            self._report.equal = _plus(self._report.equal, work.size)
            self._count(work.size)
        else:
            await self._copy_file(work.path, self._count)
            self._report.copied = _plus(self._report.copied, work.size)
        self._manifest.done(work, work.size, None)

    async def _digest_at_target(self, path: str, size: int) -> tuple[int, str] | None:
        try:
            return await self._target.digest(path, size)
        except FileProblemError:
            return None

    # --- what is there in the end ---

    async def _compare_names(self) -> None:
        """List the target once more: it must have every file and directory, under its name and in its size."""
        if not self._changed_target():
            return
        unlisted: dict[str, str] = {}
        await self._list_again(unlisted.__setitem__)
        reported = frozenset({*self._report.failed, *unlisted})
        missing = [each for each in self._manifest.differences() if not _is_below(each.path, reported)]
        same = await self._same_by_another_name(missing)
        missing = [each for each in missing if each.path not in same]
        for each in missing:
            self._failed(each.path, _describe_difference(each))
        await self._compare_again({posixpath.dirname(each.path) for each in missing})
        for path, reason in unlisted.items():
            if self._manifest.is_at_source(path):
                self._failed(path, f"at the target: {reason}; names were not compared")

    def _changed_target(self) -> bool:
        return bool(self._progress.files or self._made_directories)

    async def _list_again(self, on_unreadable: Callable[[str, str], None]) -> None:
        async def list_touched(directory: str) -> None:
            self._manifest.forget_target_in(directory)
            record = self._manifest.list_target
            await self._list_side(self._target, directory, record, on_unreadable, recursive=False)

        if self._is_file:
            await self._list_target_file()
        elif self._trusts_listing and not self._folds_names():
            await for_each(iterate(sorted(self._touched)), list_touched, self._target.max_concurrent_files)
        else:
            self._manifest.forget_target()
            await self._list_target(on_unreadable)

    def _is_complete(self) -> bool:
        """Whether the next copy may take the target for what was listed in the end."""
        return not (self._report.failed or self._is_file or self._folds_names())

    async def _same_by_another_name(self, missing: list[Difference]) -> set[str]:
        """Of what the target does not list, that which it only spells in another way, as macOS does."""
        unlisted = [each.path for each in missing if not each.is_listed]
        if not unlisted or self._is_file:
            return set()
        same: set[str] = set()
        folding = await self._find_folding()
        for group in self._manifest.same_names(folding.key):
            at_source = [path for path in group if self._manifest.is_at_source(path)]
            if len(group) == 2 and len(at_source) == 1:
                same.update(at_source)
        return same.intersection(unlisted)

    async def _compare_again(self, directories: Iterable[str]) -> None:
        """Where a name is missing, another file may have its content: read all that is there once more."""
        for directory in directories:
            for record in self._manifest.copied_in(directory):
                if record.path not in self._report.failed:
                    await self._compare_one(record)

    async def _compare_one(self, record: Record) -> None:
        if record.sha256 is None:
            return
        there = await self._digest_at_target(record.path, record.size or 0)
        if there != (record.size, record.sha256):
            self._failed(record.path, "another file took its name at the target")

    # --- what comes of it ---

    def _count(self, size: int) -> None:
        self._progress.bytes += size
        self._on_progress(self._progress)

    def _failed(self, path: str, reason: str) -> None:
        self._report.failed[path] = reason
        self._manifest.failed(path, reason)

    def _leave_out(self, path: str, reason: str) -> None:
        """Report what is not copied, with what is below it."""
        self._manifest.leave_out(path)
        if not any(above in self._report.failed for above in parents(path)):
            self._failed(path, reason)


async def _closing(work: Awaitable[None], *ends: Callable[[], Awaitable[None]]) -> None:
    """Await `work`, then all `ends` whatever comes of it; what is raised is what failed first."""
    failure: BaseException | None = None
    for step in (lambda: work, *ends):
        try:
            await step()
        except BaseException as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _is_below(path: str, directories: frozenset[str]) -> bool:
    """Whether `path` is one of `directories` or inside of one."""
    if not directories:
        return False
    names = path.split("/")
    return any("/".join(names[:depth]) in directories for depth in range(1, len(names) + 1))


async def _pages(manifest: Manifest) -> AsyncIterator[Work]:
    for work in manifest.work():
        yield work


def _describe_difference(found: Difference) -> str:
    kind = "directory" if found.is_directory else "file"
    if not found.is_listed:
        return f"the target does not list a {kind} of this name"
    return f"the target lists it, but not as this {kind}: {found.size} bytes"


def _refuse_nesting(source: str, target: str) -> None:
    one, other = Location.parse(source), Location.parse(target)
    if one.is_under(other) or other.is_under(one):
        raise LocationError(
            f"{redact(source)} and {redact(target)}: one lies in the other", "name two that lie apart"
        )


def _plus(totals: Totals, size: int) -> Totals:
    return Totals(totals.files + 1, totals.bytes + size)
