# SPDX-License-Identifier: Apache-2.0
"""What a copy knows about its files, in an SQLite file that survives kill -9 at any moment."""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from mlflow_sftp.errors import ManifestError
from mlflow_sftp.stores.base import Item, Totals, escape_undecodable

_FORMAT = "1"
# Beside what a manifest is of: the directories below which the last copy compared every name at the target, and left
# nothing behind. A program that does not know it refuses the manifest, and thus cannot copy past it.
_COMPLETE = "complete"
_PAGE = 500
# A file recorded but not committed when the process dies is compared again, not copied again.
_COMMIT_SECONDS = 0.5

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, stamp TEXT, sha256 TEXT, state TEXT NOT NULL, reason TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS target (
    path BLOB PRIMARY KEY, size INTEGER, is_directory INTEGER
) WITHOUT ROWID;
CREATE TEMP TABLE source (
    path BLOB PRIMARY KEY, size INTEGER, stamp TEXT, is_directory INTEGER, is_settled INTEGER
) WITHOUT ROWID;
"""

# Copied before, and neither side has changed since as far as a listing can tell.
_UNCHANGED = "f.state IS 'done' AND f.size IS s.size AND f.stamp IS s.stamp AND t.size IS s.size"
_JOINED = (
    "FROM source s LEFT JOIN target t USING (path) LEFT JOIN files f USING (path) WHERE NOT s.is_directory"
)

_BOTH = "SELECT path FROM source UNION SELECT path FROM target ORDER BY path"
_SAME_NAMES = (
    "WITH names AS (SELECT path FROM source UNION SELECT path FROM target) "
    "SELECT fold(path) AS key FROM names GROUP BY key HAVING count(*) > 1"
)

_RECORDS = "SELECT path, size, sha256, state, reason FROM files ORDER BY path"
_RECORDS_BELOW = (
    "SELECT path, size, sha256, state, reason FROM files WHERE path > ? AND path < ? ORDER BY path"
)


class Work(NamedTuple):
    """A file to see to; `at_target` is the size of what is there under its name, None for nothing.

    `stamp` is None where it may change once more without another stamp.
    """

    path: str
    size: int
    stamp: str | None
    at_target: int | None


class Difference(NamedTuple):
    """A file or directory that the target does not list as the copy left it; of what it lists instead, the size."""

    path: str
    is_directory: bool
    is_listed: bool
    size: int | None


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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._errors():
                self._connection.commit()
        except ManifestError:
            if kind is None:
                raise  # Otherwise there is an error that came first.
        finally:
            self._connection.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ManifestError(
                f"{self._name}: the manifest cannot be written: {error}",
                "see that its disk has room; what was copied is compared again",
            ) from error

    def _check(self, source: str, target: str) -> None:
        expected = {
            "format": _FORMAT,
            "source": escape_undecodable(source),
            "target": escape_undecodable(target),
        }
        query = "SELECT name, value FROM about WHERE name <> ?"
        known = dict(self._connection.execute(query, (_COMPLETE,)))
        if known and known != expected:
            raise ManifestError(
                f"{self._name} belongs to a copy from {known.get('source')} to {known.get('target')}",
                "give this one a manifest of its own",
            )
        self._connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", expected.items())
        self._connection.commit()

    def begin(self) -> list[str] | None:
        """Return below which directories the target is known as a complete copy left it; None where it is not.

        Until `complete`, whatever stops the copy that begins, the next one is not told so.
        """
        query = "SELECT value FROM about WHERE name = ?"
        row = self._connection.execute(query, (_COMPLETE,)).fetchone()
        if row is None:
            return None
        with self._durably():
            self._connection.execute("DELETE FROM about WHERE name = ?", (_COMPLETE,))
        directories: list[str] = json.loads(row[0])
        return directories

    def complete(self, directories: Iterable[str]) -> None:
        """Note that the target has everything below these directories, and that its listing is remembered."""
        with self._durably():
            row = _COMPLETE, json.dumps(sorted(directories))
            self._connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", row)

    @contextlib.contextmanager
    def _durably(self) -> Iterator[None]:
        """One transaction that outlives a loss of power, with all that came before."""
        with self._errors():
            self._connection.commit()
            self._connection.execute("PRAGMA synchronous = FULL")
            yield
            self._connection.commit()
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def list_source(self, items: Iterable[Item], settled_at: float) -> None:
        """Note what the source holds; what changed after `settled_at`, by its clock, may have changed again unseen."""
        rows = (
            (
                os.fsencode(item.path),
                item.size,
                item.stamp,
                item.is_directory,
                item.changed is not None and item.changed <= settled_at,
            )
            for item in items
        )
        with self._errors():
            self._connection.executemany("INSERT OR REPLACE INTO temp.source VALUES (?, ?, ?, ?, ?)", rows)

    def list_target(self, items: Iterable[Item]) -> None:
        """Note what the target holds; a directory has no size, so it never passes for a file."""
        rows = (
            (os.fsencode(item.path), None if item.is_directory else item.size, item.is_directory)
            for item in items
        )
        with self._errors():
            self._connection.executemany("INSERT OR REPLACE INTO target VALUES (?, ?, ?)", rows)
            self._commit_now_and_then()

    def forget_target(self) -> None:
        """Forget what the target was said to hold, before it is listed again."""
        with self._errors():
            self._connection.execute("DELETE FROM target")

    def forget_target_in(self, directory: str) -> None:
        """Forget what the target was said to hold right in a directory, before that is listed again."""
        first, end = _bounds(directory)
        query = "DELETE FROM target WHERE path > ? AND instr(substr(path, ?), x'2f') = 0"
        values = first, len(first) + 1
        with self._errors():
            if end is None:
                self._connection.execute(query, values)
            else:
                self._connection.execute(f"{query} AND path < ?", (*values, end))

    def clashes(self) -> list[tuple[str, str]]:
        """Path and reason of what is a file on one side and a directory on the other."""
        query = (
            "SELECT path, t.is_directory FROM source s JOIN target t USING (path) "
            "WHERE s.is_directory <> t.is_directory ORDER BY path"
        )
        return [
            (os.fsdecode(path), f"the target has a {'directory' if is_directory else 'file'} of this name")
            for path, is_directory in self._connection.execute(query).fetchall()
        ]

    def same_names(self, fold: Callable[[str], str]) -> list[list[str]]:
        """Paths of source and target, grouped, that become one path by `fold`."""

        def key_of(path: bytes) -> bytes:
            return os.fsencode(fold(os.fsdecode(path)))

        self._connection.create_function("fold", 1, key_of, deterministic=True)
        with self._errors():
            keys = {key for (key,) in self._connection.execute(_SAME_NAMES).fetchall()}
        groups: dict[bytes, list[str]] = {}
        for (path,) in self._connection.execute(_BOTH) if keys else ():
            if (key := key_of(path)) in keys:
                groups.setdefault(key, []).append(os.fsdecode(path))
        return list(groups.values())

    def is_at_source(self, path: str) -> bool:
        """Whether the source holds this, as far as it is to be copied."""
        query = "SELECT 1 FROM source WHERE path = ?"
        return self._connection.execute(query, (os.fsencode(path),)).fetchone() is not None

    def is_spelled(self, path: str, other: str) -> bool:
        """Take `other` at the target for `path` where one name has both spellings; tells whether that can be.

        It can where both are directories, or this file was copied before.
        """
        query = (
            "INSERT INTO target SELECT s.path, t.size, t.is_directory FROM source s, target t "
            "WHERE s.path = ? AND t.path = ? AND s.is_directory = t.is_directory "
            "AND (s.is_directory OR EXISTS (SELECT 1 FROM files WHERE path = s.path AND state = 'done'))"
        )
        with self._errors():
            return self._connection.execute(query, (os.fsencode(path), os.fsencode(other))).rowcount > 0

    def leave_out(self, path: str) -> None:
        """Do not copy this, nor what is below it."""
        bounds = os.fsencode(path), *_bounds(path)
        with self._errors():
            self._connection.execute(
                "DELETE FROM temp.source WHERE path = ? OR (path > ? AND path < ?)", bounds
            )

    def leave_out_present(self) -> None:
        """Do not copy files that the target has, whatever they hold."""
        query = (
            "DELETE FROM temp.source WHERE NOT is_directory "
            "AND path IN (SELECT path FROM target WHERE NOT is_directory)"
        )
        with self._errors():
            self._connection.execute(query)

    def missing_directories(self) -> Iterator[str]:
        """Directories of the source that the target lacks, a directory before what is in it."""
        query = "SELECT path FROM source WHERE is_directory AND path NOT IN (SELECT path FROM target)"
        for (path,) in self._connection.execute(f"{query} ORDER BY path").fetchall():
            yield os.fsdecode(path)

    def work(self) -> Iterator[Work]:
        """Files that may need copying, in pages: records may be written meanwhile."""
        query = (
            "SELECT s.path, s.size, CASE WHEN s.is_settled THEN s.stamp END, t.size "
            f"{_JOINED} AND NOT ({_UNCHANGED}) AND s.path > ?"
        )
        last: bytes | int = 0  # Before every path, the empty one of a single file too.
        while page := self._connection.execute(f"{query} ORDER BY s.path LIMIT {_PAGE}", (last,)).fetchall():
            for path, size, stamp, at_target in page:
                yield Work(os.fsdecode(path), size, stamp, at_target)
            last = page[-1][0]

    def differences(self) -> list[Difference]:
        """What is to be at the target, and what it lists now in another way or not at all.

        A file compared by its size alone may have grown since it was listed.
        """
        query = (
            "SELECT s.path, s.is_directory, t.path IS NOT NULL, t.size FROM source s "
            "LEFT JOIN target t USING (path) LEFT JOIN files f USING (path) "
            "WHERE t.path IS NULL OR t.is_directory <> s.is_directory OR (NOT s.is_directory "
            "AND t.size IS NOT NULL AND CASE WHEN f.sha256 IS NULL THEN t.size < f.size ELSE t.size <> f.size END) "
            "ORDER BY s.path"
        )
        rows = self._connection.execute(query).fetchall()
        return [
            Difference(os.fsdecode(path), bool(kind), bool(listed), size) for path, kind, listed, size in rows
        ]

    def copied_in(self, directory: str) -> list[Record]:
        """Records of the files right in a directory that are to be at the target."""
        first, end = _bounds(directory)
        query = (
            "SELECT f.path, f.size, f.sha256, f.state, f.reason FROM files f JOIN source s USING (path) "
            "WHERE f.state = 'done' AND f.path > ? AND (? IS NULL OR f.path < ?)"
        )
        return [
            Record(os.fsdecode(path), *rest)
            for path, *rest in self._connection.execute(query, (first, end, end))
            if b"/" not in path[len(first) :]
        ]

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

    def distrust(self) -> None:
        """Have everything compared again by the next call: the target may not hold what it acknowledged."""
        with self._errors():
            self._connection.execute("UPDATE files SET stamp = NULL")

    def _record(self, path: str, *values: object) -> None:
        row = (os.fsencode(path), *values)
        with self._errors():
            self._connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)
            self._commit_now_and_then()

    def _commit_now_and_then(self) -> None:
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
        found = connection.execute(_RECORDS_BELOW, _bounds(below)) if below else connection.execute(_RECORDS)
        for name, *rest in found:
            yield Record(os.fsdecode(name), *rest)
    finally:
        connection.close()


def _bounds(directory: str) -> tuple[bytes, bytes | None]:
    """Between which the paths below a directory lie; None where nothing comes after them."""
    # "0" is what comes after "/".
    return (os.fsencode(f"{directory}/"), os.fsencode(f"{directory}0")) if directory else (b"", None)


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
