# SPDX-License-Identifier: Apache-2.0
"""Runs and logged models read back through MLflow, as its users do, and compared byte for byte."""

import hashlib
import itertools
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from mlflow_sftp.errors import LocationError, NotFoundError
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


@dataclass(frozen=True)
class _Entity:
    """A run or logged model; `directory` is where its files are, below the store."""

    kind: EntityKind
    identifier: str
    directory: str
    created: int
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
        runs: How many runs, and how many logged models; None for all. From those that have files, they are
            chosen evenly from the oldest to the newest. Deleted runs are among them, deleted models are not:
            MLflow does not give them out.

    One file of each run is also fetched from the server's own endpoint, as the browser does. Raises StorageError
    or SftpError where the choice cannot be made; all else is in the result.
    """
    opened = open_store(store or root, RateLimiter(None), settings or Settings.from_environment())
    source = _Manifest(manifest) if manifest else _Store(opened)
    try:
        entities = _entities(database, parse_root(root, working_directory), working_directory)
        chosen = _choose(_with_files(entities, source), runs)
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


class _Store:
    """What the store itself has."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def files(self, directory: str = "") -> Iterator[_Expected]:
        yield from event_loop.run(self._list(directory))

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


def _entities(database: Database, root: Location, working_directory: str | None) -> list[_Entity]:
    """Every run, and every logged model that is not deleted, below the root."""
    found: list[_Entity] = []
    with database.reading() as connection:
        for kind, query in _queries(database):
            for identifier, location, created, running in connection.execute(query):
                directory = _directory(location, root, working_directory)
                if directory is not None:
                    found.append(_Entity(kind, identifier, directory, created or 0, running))
    return found


def _queries(database: Database) -> Iterator[tuple[EntityKind, sa.Select[Any]]]:
    runs = database.tables["runs"].c
    yield "run", sa.select(runs.run_uuid, runs.artifact_uri, runs.start_time, runs.status == "RUNNING")
    if "logged_models" in database.tables:
        models = database.tables["logged_models"].c
        kept = models.lifecycle_stage != "deleted"
        columns = models.model_id, models.artifact_location, models.creation_timestamp_ms
        yield "model", sa.select(*columns, sa.false()).where(kept)


def _directory(location: str | None, root: Location, working_directory: str | None) -> str | None:
    try:
        return Location.parse(location or "", working_directory).below(root)
    except LocationError:
        return None


def _with_files(entities: Sequence[_Entity], source: _Manifest | _Store) -> list[_Entity]:
    directories = {entity.directory for entity in entities}
    filled: set[str] = set()
    for file in source.files():
        filled.update(itertools.takewhile(lambda above: above not in filled, parents(file.path)))
    return [entity for entity in entities if entity.directory in filled & directories]


def _choose(entities: Sequence[_Entity], count: int | None) -> list[_Entity]:
    chosen: list[_Entity] = []
    for kind in ("run", "model"):
        of_kind = [entity for entity in entities if entity.kind == kind]
        of_kind.sort(key=lambda entity: (entity.created, entity.identifier))
        chosen.extend(of_kind[index] for index in _spread(len(of_kind), count))
    return chosen


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
