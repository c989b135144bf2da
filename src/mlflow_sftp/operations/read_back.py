# SPDX-License-Identifier: Apache-2.0
"""Runs and logged models read back through MLflow, as its users do, and compared byte for byte."""

import hashlib
import itertools
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import mlflow
import sqlalchemy as sa
from mlflow.artifacts import download_artifacts
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from mlflow_sftp import event_loop
from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import LocationError, MissingStoreError, NotFoundError
from mlflow_sftp.location import Location, parse_root
from mlflow_sftp.operations.manifest import read_manifest
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import FileProblemError, parents
from mlflow_sftp.stores.open_store import Store, open_store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.transfer import local_files

EntityKind = Literal["run", "model"]

# An answer is wanted in minutes also where nothing works and each attempt takes its time to fail.
MOST_PROBLEMS = 20

_AT_ONCE = 4
# MLflow's client writes it into what it downloads of a registered model, and into the store where that is local.
_WRITTEN_BY_DOWNLOADS = "registered_model_meta"
_CHUNK = 1 << 20
_MOST_TEXT = 400
# More directories without files are not looked into one by one: one listing tells of all.
_MOST_EMPTY = 200


@dataclass(frozen=True)
class ReadBackFailure:
    """A file, or with an empty `path` a whole run or logged model, that MLflow does not give back as it was."""

    kind: EntityKind
    identifier: str
    path: str
    cause: str

    def as_dict(self) -> dict[str, str]:
        """The problem as JSON, with `run_id` or `model_id`."""
        return {f"{self.kind}_id": self.identifier, "path": self.path, "cause": self.cause}


@dataclass
class ReadBack:
    """What was read back; with MOST_PROBLEMS or more, not everything that was chosen."""

    runs: int = 0
    models: int = 0
    files: int = 0
    bytes: int = 0
    problems: list[ReadBackFailure] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "problems": [problem.as_dict() for problem in self.problems]}


class _Content(NamedTuple):
    size: int
    sha256: str


class _Expected(NamedTuple):
    """A file by its path below its run or model; without a SHA-256, the store's own bytes count."""

    path: str
    size: int
    sha256: str | None


class _Row(NamedTuple):
    """A run or logged model as the database has it; `created` in milliseconds since 1970."""

    identifier: str
    location: str | None
    created: int
    running: bool


@dataclass(frozen=True)
class _Entity:
    """A run or logged model; `directory` is where its files are, below the store."""

    kind: EntityKind
    identifier: str
    directory: str
    running: bool


def read_back(
    database: Database,
    root: str,
    tracking_uri: str,
    *,
    store: str | None = None,
    manifest: Path | None = None,
    runs: int | None = 10,
    working_directory: str | None = None,
    settings: Settings | None = None,
) -> ReadBack:
    """Download runs and logged models below `root` through MLflow and compare every file.

    Args:
        root: The artifact root as the database spells it.
        tracking_uri: The MLflow server to go through.
        store: Where the root is, if it does not say it: the artifacts destination of `mlflow-artifacts:/`.
        manifest: Manifest of a copy to the store. It says what there must be, down to the SHA-256; without it,
            the files that the store has are compared with their own bytes, read past MLflow.
        runs: How many runs, and how many logged models; None for all. They are chosen evenly from the oldest to the
            newest; instead of one that is elsewhere or has no files, the nearest that has. Deleted runs are among
            them, deleted models are not: MLflow does not give them out.

    One file of each run is also fetched from the server's own endpoint, as the browser does. Raises StorageError
    or SftpError where the choice cannot be made; all else is in the result.
    """
    opened = open_store(store or root, RateLimiter(None), settings or Settings.from_environment())
    source = _Manifest(manifest) if manifest else _Store(opened)
    try:
        choice = _Choice(source, parse_root(root, working_directory), working_directory)
        chosen = [each for kind, rows in _rows(database) for each in choice.choose(kind, rows, runs)]
        reader = _Reader(opened, source, tracking_uri)
        with _tracking(tracking_uri), ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(reader.check, chosen):
                pass
        return reader.result
    finally:
        event_loop.run(opened.close())


class _Manifest:
    """What a manifest says there must be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def files(self, directory: str = "") -> Iterator[_Expected]:
        for record in read_manifest(self._path, directory):
            if record.state == "done":
                yield _Expected(record.path, record.size or 0, record.sha256)

    def has_files(self, directory: str) -> bool:
        with closing(read_manifest(self._path, directory)) as records:
            return any(record.state == "done" for record in records)


class _Store:
    """What the store itself has."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def files(self, directory: str = "") -> Iterator[_Expected]:
        yield from event_loop.run(self._list(directory))

    def has_files(self, directory: str) -> bool:
        return event_loop.run(self._has_files(directory))

    async def _has_files(self, directory: str) -> bool:
        try:
            async with aclosing(self._store.walk(directory, lambda path, reason: None)) as walk:
                async for items in walk:
                    if not all(item.is_directory for item in items):
                        return True
        except NotFoundError as error:
            if not await self._store.exists():
                message = f"{self._store.name}: there is no such directory"
                raise MissingStoreError(message, "name the store that the artifacts are in") from error
        return False

    async def _list(self, directory: str) -> list[_Expected]:
        return [each async for each in self._walk(directory)]

    async def _walk(self, directory: str) -> AsyncIterator[_Expected]:
        try:
            async for items in self._store.walk(directory, lambda path, reason: None):
                for item in items:
                    if not item.is_directory:
                        yield _Expected(item.path, item.size, None)
        except NotFoundError:
            # Of a run without artifacts there is nothing; without the store itself there is nothing to compare.
            if not directory:
                raise


class _Reader:
    """Reads back one run or model at a time in each of some threads, and adds up what comes of it."""

    def __init__(self, store: Store, source: _Manifest | _Store, tracking_uri: str) -> None:
        self.result = ReadBack()
        self._lock = threading.Lock()
        self._store = store
        self._source = source
        self._tracking_uri = tracking_uri
        self._server = urlsplit(tracking_uri).scheme in ("http", "https")

    def check(self, entity: _Entity) -> None:
        if len(self.result.problems) >= MOST_PROBLEMS:
            return
        self._count(runs=entity.kind == "run", models=entity.kind == "model")
        expected = [
            each._replace(path=each.path[len(entity.directory) :].lstrip("/"))
            for each in self._source.files(entity.directory)
        ]
        with tempfile.TemporaryDirectory(prefix="mlflow-sftp-") as directory:
            try:
                self._download(entity, directory)
            except Exception as error:
                self._problem(entity, "", f"MLflow cannot download it: {_one_line(error)}")
                return
            for file in expected:
                self._compare(entity, file, _content(os.path.join(directory, file.path)))
        if entity.kind == "run" and self._server:
            self._check_server(entity, expected)

    def _download(self, entity: _Entity, directory: str) -> None:
        if entity.kind == "run":
            # By its id, not as runs:/ID, which hides why it fails.
            download_artifacts(run_id=entity.identifier, dst_path=directory)
        else:
            download_artifacts(artifact_uri=f"models:/{entity.identifier}", dst_path=directory)

    def _check_server(self, entity: _Entity, expected: Sequence[_Expected]) -> None:
        """The smallest file whose name MLflow's handler takes as it is."""
        servable = [file for file in expected if unquote(file.path) == file.path and "#" not in file.path]
        if not servable:
            return
        file = min(servable, key=lambda each: each.size)
        try:
            answer = http_request(
                get_default_host_creds(self._tracking_uri),
                "/get-artifact",
                "GET",
                params={"run_uuid": entity.identifier, "path": file.path},
                stream=True,
            )
            with answer:
                if answer.status_code != 200:
                    said = f"{answer.status_code} {_shortened(answer.text)}"
                    self._problem(entity, file.path, f"the server's /get-artifact answers {said}")
                    return
                found = _digest(answer.iter_content(_CHUNK))
        except Exception as error:
            self._problem(entity, file.path, f"the server's /get-artifact fails: {_one_line(error)}")
            return
        self._compare(entity, file, found, through="the server's /get-artifact")

    def _compare(
        self, entity: _Entity, file: _Expected, found: _Content | None, through: str = "MLflow's client"
    ) -> None:
        if found is None:
            self._problem(entity, file.path, f"{through} did not deliver it")
            return
        self._count(files=1, size=found.size)
        if file.path.rpartition("/")[2] == _WRITTEN_BY_DOWNLOADS:
            return
        if file.sha256 is not None and found == (file.size, file.sha256):
            return
        try:
            stored = _Content(*event_loop.run(self._store.digest(_join(entity, file), file.size)))
        except FileProblemError as problem:
            self._problem(entity, file.path, f"the store cannot give it to compare: {problem}")
            return
        if found != stored:
            self._problem(
                entity, file.path, f"{through} delivered {_describe(found)}, stored are {_describe(stored)}"
            )
        elif file.sha256 is not None and not entity.running:
            known = _describe(_Content(file.size, file.sha256))
            cause = f"copied were {known}, the store has {_describe(found)}: overwritten since, or damaged"
            self._problem(entity, file.path, cause)

    def _count(self, runs: int = 0, models: int = 0, files: int = 0, size: int = 0) -> None:
        with self._lock:
            self.result.runs += runs
            self.result.models += models
            self.result.files += files
            self.result.bytes += size

    def _problem(self, entity: _Entity, path: str, cause: str) -> None:
        self.result.problems.append(ReadBackFailure(entity.kind, entity.identifier, path, cause))


@contextmanager
def _tracking(uri: str) -> Iterator[None]:
    """Make a server the one of this process: models:/ID asks that one, whichever is named."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _rows(database: Database) -> list[tuple[EntityKind, list[_Row]]]:
    """Every run, and every logged model that is not deleted, from the oldest to the newest."""
    found: list[tuple[EntityKind, list[_Row]]] = []
    with database.reading() as connection:
        for kind, query in _queries(database):
            rows = [
                _Row(identifier, location, created or 0, running)
                for identifier, location, created, running in connection.execute(query)
            ]
            found.append((kind, sorted(rows, key=lambda row: (row.created, row.identifier))))
    return found


def _queries(database: Database) -> Iterator[tuple[EntityKind, sa.Select[Any]]]:
    runs = database.tables["runs"].c
    yield "run", sa.select(runs.run_uuid, runs.artifact_uri, runs.start_time, runs.status == "RUNNING")
    if "logged_models" in database.tables:
        models = database.tables["logged_models"].c
        kept = models.lifecycle_stage != "deleted"
        columns = models.model_id, models.artifact_location, models.creation_timestamp_ms
        yield "model", sa.select(*columns, sa.false()).where(kept)


class _Choice:
    """Chooses from what is below the root and has files, and looks at no more than that takes."""

    def __init__(self, source: _Manifest | _Store, root: Location, working_directory: str | None) -> None:
        self._source = source
        self._root = root
        self._working_directory = working_directory

    def choose(self, kind: EntityKind, rows: Sequence[_Row], count: int | None) -> list[_Entity]:
        """Up to `count` of the rows, all for None, in their order."""
        chosen = None if count is None else self._choose_nearest(kind, rows, count)
        if chosen is not None:
            return chosen
        found = self._with_files(kind, rows)
        return [found[index] for index in _spread(len(found), count)]

    def _choose_nearest(self, kind: EntityKind, rows: Sequence[_Row], count: int) -> list[_Entity] | None:
        """None where too many had to be looked at in vain."""
        chosen: dict[int, _Entity] = {}
        empty: set[int] = set()
        for wanted in _spread(len(rows), count):
            for index in _outwards(wanted, len(rows)):
                if index in chosen or index in empty:
                    continue
                entity = self._entity(kind, rows[index])
                if entity and self._source.has_files(entity.directory):
                    chosen[index] = entity
                    break
                empty.add(index)
                if len(empty) > _MOST_EMPTY:
                    return None
        return [chosen[index] for index in sorted(chosen)]

    def _with_files(self, kind: EntityKind, rows: Sequence[_Row]) -> list[_Entity]:
        entities = (self._entity(kind, row) for row in rows)
        return [each for each in entities if each and each.directory in self._filled]

    @cached_property
    def _filled(self) -> set[str]:
        """Every directory with files in it, or below it."""
        filled: set[str] = set()
        for file in self._source.files():
            filled.update(itertools.takewhile(lambda above: above not in filled, parents(file.path)))
        return filled

    def _entity(self, kind: EntityKind, row: _Row) -> _Entity | None:
        """None where it is not below the root; the root itself is nobody's own directory."""
        try:
            location = Location.parse(row.location or "", self._working_directory)
        except LocationError:
            return None
        directory = location.below(self._root)
        return _Entity(kind, row.identifier, directory, row.running) if directory else None


def _outwards(start: int, length: int) -> Iterator[int]:
    """Every index below `length`, the nearest to `start` first."""
    yield start
    for distance in range(1, length):
        for index in (start - distance, start + distance):
            if 0 <= index < length:
                yield index


def _spread(length: int, count: int | None) -> list[int]:
    """Up to `count` indices below `length`, evenly spread, first and last among them; of one, the last."""
    if count is None or count >= length:
        return list(range(length))
    if count == 1:
        return [length - 1]
    return [round(index * (length - 1) / (count - 1)) for index in range(count)]


def _content(path: str) -> _Content | None:
    try:
        return _Content(*local_files.digest(path))
    except OSError:
        return None


def _digest(chunks: Iterator[bytes]) -> _Content:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return _Content(size, digest.hexdigest())


def _join(entity: _Entity, file: _Expected) -> str:
    return f"{entity.directory}/{file.path}" if entity.directory else file.path


def _describe(content: _Content) -> str:
    return f"{content.size} bytes of SHA-256 {content.sha256[:12]}..."


def _one_line(error: Exception) -> str:
    return _shortened(str(error)) or type(error).__name__


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."
