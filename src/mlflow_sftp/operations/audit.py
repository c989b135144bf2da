# SPDX-License-Identifier: Apache-2.0
"""MLflow's database compared with the store, both ways: what is missing or cut short, what nobody knows."""

import datetime
import json
import posixpath
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from mlflow_sftp import event_loop
from mlflow_sftp.database.database import Database, location_rows
from mlflow_sftp.database.location_columns import Key
from mlflow_sftp.errors import LocationError, MissingStoreError, StorageError
from mlflow_sftp.location import Location, parse_root
from mlflow_sftp.operations.manifest import read_manifest
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.base import FileProblemError, parents
from mlflow_sftp.stores.open_store import Store, open_store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.uri import redact

FindingKind = Literal["missing", "truncated", "orphaned", "unknown_location", "unreadable"]

QUARANTINE = ".mlflow-sftp-quarantine"
# Below it, the time of the audit that moved something there.
QUARANTINE_STAMP = "%Y%m%dT%H%M%SZ"

_MODEL_FILE = "MLmodel"
# MLflow adds up a model's size before it writes these.
_WRITTEN_LATER = {_MODEL_FILE, "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"}
_MODEL_SIZE = re.compile(rb"^model_size_bytes: (\d+)$", re.MULTILINE)
# In logged_models.status; a pending or failed model may well have no files.
_READY = 2
# Run tags by which MLflow remembers that it logged files.
_FILE_TAGS = ("mlflow.log-model.history", "mlflow.loggedArtifacts")
# Sources that name another entity, whose own row is what counts.
_REFERENCE = re.compile(r"(runs|models):/")


@dataclass(frozen=True)
class AuditFinding:
    """One disagreement. `path` is relative to the store, or the location as the database has it.

    `files` and `bytes` say how much there is of what is orphaned.
    """

    kind: FindingKind
    path: str
    detail: str
    files: int = 0
    bytes: int = 0


@dataclass
class Audit:
    """The outcome; `quarantined` maps paths to where they were moved."""

    files: int = 0
    bytes: int = 0
    locations: int = 0
    problems: list[AuditFinding] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The audit as JSON, with the number of problems of each kind."""
        return {**asdict(self), "counts": dict(Counter(problem.kind for problem in self.problems))}


@dataclass
class _Owner:
    """An entity of the database that has a directory of its own; what the store has there is added up.

    `payload` are the bytes that count for a model's size.
    """

    label: str
    expects: str = ""
    files: int = 0
    payload: int = 0
    has_model_file: bool = False


def audit(
    database: Database,
    root: str,
    *,
    store: str | None = None,
    manifest: Path | None = None,
    working_directory: str | None = None,
    quarantine: bool = False,
    check: bool = False,
    settings: Settings | None = None,
) -> Audit:
    """Compare every location of the database with the files of the store.

    Args:
        root: The artifact root as the database spells it.
        store: Where that is, if the root does not say it: the artifacts destination of `mlflow-artifacts:/`.
        manifest: Manifest of a copy to the store, for the size of every single file.
        quarantine: Move what is orphaned to a directory of its own below the store; nothing is deleted.
        check: Only tell what `quarantine` would move.

    Rows are read again before anything is taken for orphaned, so that what is logged meanwhile is not. Raises
    StorageError where `quarantine` would move everything, because no row leads below `root`.
    """
    opened = open_store(store or root, RateLimiter(None), settings or Settings.from_environment())
    return event_loop.run(
        _Auditor(database, parse_root(root, working_directory), working_directory, opened).run(
            manifest, quarantine, check
        )
    )


class _Auditor:
    def __init__(
        self, database: Database, root: Location, working_directory: str | None, opened: Store
    ) -> None:
        self._database = database
        self._root = root
        self._working_directory = working_directory
        self._store = opened
        self._result = Audit()
        self._owners: dict[str, _Owner] = {}
        self._above: set[str] = set()
        self._model_files: dict[str, int] = {}
        self._orphans: dict[str, tuple[int, int]] = {}

    async def run(self, manifest: Path | None, quarantine: bool, check: bool) -> Audit:
        try:
            self._read_database(self._result.problems)
            await self._read_store(_sizes(manifest))
            await self._compare()
            self._report_orphans()
            if quarantine:
                await self._quarantine(check)
        finally:
            await self._store.close()
        self._result.problems.sort(key=lambda problem: (problem.kind, problem.path))
        return self._result

    # --- the database ---

    def _read_database(self, problems: list[AuditFinding]) -> None:
        self._result.locations = 0
        with self._database.reading() as connection:
            expecting = _Expecting(self._database, connection)
            for column in self._database.location_columns():
                if column.table == "workspaces":
                    continue
                for key, value in location_rows(self._database, connection, column):
                    self._record_location(
                        column.name, key, value, expecting.what(column.table, key), problems
                    )

    def _record_location(
        self, column: str, key: Key, value: str, expects: str, problems: list[AuditFinding]
    ) -> None:
        label = f"{column} {json.dumps(key)}"
        relative = self._relative(value)
        if relative is None:
            if not _REFERENCE.match(value):
                problems.append(
                    AuditFinding("unknown_location", redact(value), f"{label} is not under the root")
                )
            return
        self._result.locations += 1
        self._above.update(parents(relative), ("",) if relative else ())
        if column == "experiments.artifact_location":
            self._above.add(relative)
            return
        owner = self._owners.setdefault(relative, _Owner(label))
        owner.expects = owner.expects or expects

    def _relative(self, value: str) -> str | None:
        """The path below the root, None for what is elsewhere."""
        try:
            return Location.parse(value, self._working_directory).below(self._root)
        except LocationError:
            return None

    # --- the store ---

    async def _read_store(self, expected: dict[str, int]) -> None:
        if not await self._store.exists():
            raise MissingStoreError(
                f"{self._store.name}: there is no such directory to audit", "check the root and the store"
            )
        async for items in self._store.walk("", self._unreadable):
            for item in items:
                if item.path.startswith(f"{QUARANTINE}/") or item.path == QUARANTINE or item.is_directory:
                    continue
                self._add(item.path, item.size)
                self._check_size(item.path, item.size, expected.pop(item.path, None))
        for path, size in expected.items():
            self._problem("missing", path, f"the manifest has a file of {size} bytes here")

    def _unreadable(self, path: str, reason: str) -> None:
        self._problem("unreadable", path, reason)

    def _add(self, path: str, size: int) -> None:
        self._result.files += 1
        self._result.bytes += size
        owned, orphan = False, path
        for above in parents(path):
            if (owner := self._owners.get(above)) is not None:
                owned = True
                owner.files += 1
                name = path[len(above) + 1 :]
                owner.payload += 0 if name in _WRITTEN_LATER else size
                if name == _MODEL_FILE:
                    owner.has_model_file = True
                    self._model_files[above] = size
            if above not in self._above and not owned and len(above) < len(orphan):
                orphan = above
        if not owned:
            files, total = self._orphans.get(orphan, (0, 0))
            self._orphans[orphan] = (files + 1, total + size)

    def _check_size(self, path: str, size: int, expected: int | None) -> None:
        if expected is not None and size < expected:
            self._problem("truncated", path, f"{size} of {expected} bytes")
        elif expected is not None and size != expected:
            self._problem("truncated", path, f"{size} bytes, copied were {expected}: it was overwritten")

    # --- both ---

    async def _compare(self) -> None:
        for path, owner in self._owners.items():
            if owner.expects and not owner.files:
                self._problem(
                    "missing", path, f"{owner.label} has {owner.expects} here, and there is no file"
                )
            elif owner.expects == "a model" and not owner.has_model_file:
                self._problem("missing", posixpath.join(path, _MODEL_FILE), f"{owner.label} has a model here")
        for path, size in self._model_files.items():
            await self._check_model(path, size)

    async def _check_model(self, path: str, size: int) -> None:
        """A model remembers how many bytes it had when it was saved; files may be added later, not lost."""
        file = posixpath.join(path, _MODEL_FILE)
        try:
            saved = _MODEL_SIZE.search(await self._store.read(file, size))
        except FileProblemError as problem:
            self._problem("unreadable", file, str(problem))
            return
        has = self._owners[path].payload
        if saved is not None and has < int(saved[1]):
            self._problem("truncated", path, f"{has} of {int(saved[1])} bytes of the model")

    def _report_orphans(self) -> None:
        """Groups of files that no row names, also after what was logged while the store was read."""
        self._read_database([])
        for path, (files, size) in self._orphans.items():
            known = path in self._above or any(above in self._owners for above in [*parents(path), path])
            if not known:
                self._problem("orphaned", path, "no row of the database names it", files, size)

    async def _quarantine(self, check: bool) -> None:
        if not self._result.locations:
            raise StorageError(
                f"no row of the database leads below {redact(self._root.text)}, so all of {self._store.name} would "
                "be moved aside",
                "name the root as the database spells it",
            )
        stamp = datetime.datetime.now(datetime.UTC).strftime(QUARANTINE_STAMP)
        for problem in self._result.problems:
            if problem.kind != "orphaned":
                continue
            target = posixpath.join(QUARANTINE, stamp, problem.path)
            if not check:
                await self._store.move(problem.path, target)
            self._result.quarantined[problem.path] = target

    def _problem(self, kind: FindingKind, path: str, detail: str, files: int = 0, size: int = 0) -> None:
        self._result.problems.append(AuditFinding(kind, path, detail, files, size))


class _Expecting:
    """Which rows must have files: by what MLflow noted when it logged them."""

    def __init__(self, database: Database, connection: sa.Connection) -> None:
        tables = database.tables
        tags = tables["tags"]
        self._runs = set(connection.scalars(sa.select(tags.c.run_uuid).where(tags.c.key.in_(_FILE_TAGS))))
        self._models: set[str] = set()
        if "logged_models" in tables:
            models = tables["logged_models"]
            query = sa.select(models.c.model_id).where(models.c.status == _READY)
            self._models = set(connection.scalars(query))

    def what(self, table: str, key: Key) -> str:
        """What a row must have, "" where an empty directory, or none, is no mistake."""
        if table == "model_versions" or (table == "logged_models" and key["model_id"] in self._models):
            return "a model"
        return "logged files" if table == "runs" and key["run_uuid"] in self._runs else ""


def _sizes(manifest: Path | None) -> dict[str, int]:
    if manifest is None:
        return {}
    return {record.path: record.size for record in read_manifest(manifest) if record.size is not None}
