# SPDX-License-Identifier: Apache-2.0
"""What a copy knows about its files, in an SQLite file that survives kill -9 at any moment."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from mlflow_sftp.errors import ManifestError
from mlflow_sftp.stores.base import Item, Totals, escape_undecodable

_FORMAT = "1"
_PAGE = 500
# A file recorded but not committed when the process dies is compared again, not copied again.
_COMMIT_SECONDS = 0.5

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, stamp TEXT, sha256 TEXT, state TEXT NOT NULL, reason TEXT
) WITHOUT ROWID;
CREATE TEMP TABLE source (
    path BLOB PRIMARY KEY, size INTEGER, stamp TEXT, is_directory INTEGER
) WITHOUT ROWID;
CREATE TEMP TABLE target (path BLOB PRIMARY KEY, size INTEGER, is_directory INTEGER) WITHOUT ROWID;
"""

# Copied before, and neither side has changed since as far as a listing can tell.
_UNCHANGED = "f.state IS 'done' AND f.size IS s.size AND f.stamp IS s.stamp AND t.size IS s.size"
_JOINED = (
    "FROM source s LEFT JOIN target t USING (path) LEFT JOIN files f USING (path) WHERE NOT s.is_directory"
)

_RECORDS = "SELECT path, size, sha256, state, reason FROM files ORDER BY path"
_RECORDS_BELOW = (
    "SELECT path, size, sha256, state, reason FROM files WHERE path > ? AND path < ? ORDER BY path"
)


class Work(NamedTuple):
    """A file to see to; `at_target` is the size of what is there under its name, None for nothing."""

    path: str
    size: int
    stamp: str
    at_target: int | None


class Record(NamedTuple):
    """A file as the manifest remembers it; `state` is "done" or "failed"."""

    path: str
    size: int | None
    sha256: str | None
    state: str
    reason: str | None


class Manifest:
    """Records of one copy from `source` to `target`; without a path they last as long as the object.

    Unless `keep`, the file is only read.
    Raises ManifestError where the file belongs to another copy or is no manifest.
    """

    def __init__(self, path: Path | None, source: str, target: str, *, keep: bool = True) -> None:
        self._name = str(path)
        self._connection = _open(path) if keep else _open_copy(path)
        self._committed = time.monotonic()
        self._check(source, target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.commit()
        self._connection.close()

    def _check(self, source: str, target: str) -> None:
        expected = {
            "format": _FORMAT,
            "source": escape_undecodable(source),
            "target": escape_undecodable(target),
        }
        known = dict(self._connection.execute("SELECT name, value FROM about"))
        if known and known != expected:
            raise ManifestError(
                f"{self._name} belongs to a copy from {known.get('source')} to {known.get('target')}",
                "give this one a manifest of its own",
            )
        self._connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", expected.items())
        self._connection.commit()

    def list_source(self, items: Iterable[Item]) -> None:
        """Note what the source holds."""
        rows = ((os.fsencode(item.path), item.size, item.stamp, item.is_directory) for item in items)
        self._connection.executemany("INSERT OR REPLACE INTO temp.source VALUES (?, ?, ?, ?)", rows)

    def list_target(self, items: Iterable[Item]) -> None:
        """Note what the target holds; a directory has no size, so it never passes for a file."""
        rows = (
            (os.fsencode(item.path), None if item.is_directory else item.size, item.is_directory)
            for item in items
        )
        self._connection.executemany("INSERT OR REPLACE INTO temp.target VALUES (?, ?, ?)", rows)

    def missing_directories(self) -> Iterator[str]:
        """Directories of the source that the target lacks, a directory before what is in it."""
        query = "SELECT path FROM source WHERE is_directory AND path NOT IN (SELECT path FROM target)"
        for (path,) in self._connection.execute(f"{query} ORDER BY path").fetchall():
            yield os.fsdecode(path)

    def work(self) -> Iterator[Work]:
        """Files that may need copying, in pages: records may be written meanwhile."""
        query = f"SELECT s.path, s.size, s.stamp, t.size {_JOINED} AND NOT ({_UNCHANGED}) AND s.path > ?"
        last: bytes | int = 0  # Before every path, the empty one of a single file too.
        while page := self._connection.execute(f"{query} ORDER BY s.path LIMIT {_PAGE}", (last,)).fetchall():
            for path, size, stamp, at_target in page:
                yield Work(os.fsdecode(path), size, stamp, at_target)
            last = page[-1][0]

    def totals(self) -> Totals:
        """Everything the source holds."""
        return self._total("SELECT count(*), sum(size) FROM source WHERE NOT is_directory")

    def to_copy(self) -> Totals:
        """What the target lacks or holds in another size."""
        return self._total(f"SELECT count(*), sum(s.size) {_JOINED} AND t.size IS NOT s.size")

    def to_compare(self) -> Totals:
        """What is at the target in the right size, though not as far as this manifest knows."""
        return self._total(
            f"SELECT count(*), sum(s.size) {_JOINED} AND NOT ({_UNCHANGED}) AND t.size IS s.size"
        )

    def extra(self) -> int:
        """How many files the target has that the source lacks."""
        query = (
            "SELECT count(*), 0 FROM target WHERE NOT is_directory AND path NOT IN (SELECT path FROM source)"
        )
        return self._total(query).files

    def _total(self, query: str) -> Totals:
        files, size = self._connection.execute(query).fetchone()
        return Totals(files, size or 0)

    def done(self, work: Work, size: int, sha256: str | None) -> None:
        """Record that the target holds this file; `sha256` where contents were compared."""
        self._record(work.path, size, work.stamp, sha256, "done", None)

    def failed(self, path: str, reason: str) -> None:
        """Record why a file could not be copied."""
        self._record(path, None, None, None, "failed", reason)

    def _record(self, path: str, *values: object) -> None:
        row = (os.fsencode(path), *values)
        self._connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            self._connection.commit()
            self._committed = time.monotonic()


def manifest_stores(path: Path) -> tuple[str, str]:
    """Source and target of the copy that a manifest is of. Raises ManifestError where there is none."""
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such manifest", "name the file that the copy wrote")
    with contextlib.closing(_open(path)) as connection:
        known = dict(connection.execute("SELECT name, value FROM about"))
    if known.get("format") != _FORMAT:
        raise ManifestError(
            f"{path}: this is no manifest that this version reads", "name the file that a copy wrote"
        )
    return known["source"], known["target"]


def read_manifest(path: Path, below: str = "") -> Generator[Record, None, None]:
    """Every record of a manifest, or those below a directory, by path. Raises ManifestError where there is none."""
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such manifest", "name the file that the copy wrote")
    connection = _open(path)
    try:
        if below:
            # "0" is what comes after "/".
            bounds = os.fsencode(f"{below}/"), os.fsencode(f"{below}0")
            found = connection.execute(_RECORDS_BELOW, bounds)
        else:
            found = connection.execute(_RECORDS)
        for name, *rest in found:
            yield Record(os.fsdecode(name), *rest)
    finally:
        connection.close()


def _open_copy(path: Path | None) -> sqlite3.Connection:
    """An independent copy in memory."""
    copy = _open(None)
    if path is not None and path.exists():
        original = _open(path)
        original.backup(copy)
        original.close()
    return copy


def _open(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path or ":memory:")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
    except (sqlite3.Error, OSError) as error:
        raise ManifestError(
            f"{path}: the manifest cannot be used: {error}", "name a file that a copy wrote, or a new one"
        ) from error
    return connection
