# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore into a stack needs of a snapshot: looked at, and fetched while MLflow serves."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import Snapshot
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.backup import HOME
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import (
    ROOT,
    STAGING,
    Facts,
    Owner,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.lacking import (
    batches,
    lacking,
    listed,
    patterns,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import (
    Access,
    Home,
    Restic,
    opened,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restoring import (
    CAPABILITIES,
    chosen,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import Schema
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import holder, locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    Program,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
    require_none_interrupted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.lost import Lost, audited
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.operations import (
    FETCHED,
    Restore,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import (
    Snapshot as Wanted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

# Of the snapshot.
_DATABASE = "database"
# Where the tool has what was fetched.
_STAGED = "/var/lib/mlflow-staging"


@dataclass(frozen=True)
class Seen:
    """A snapshot, beside the stack that it is to be restored into.

    Attributes:
        snapshot: What it is.
        schema: Of its database, as the deployed MLflow sees it.
        known: How many runs and so on MLflow knows now.
        bytes: Size of the present database.
        fetched_bytes: Size of the snapshot's database.
        lacking: Artifacts of the snapshot that the store lacks, with their sizes in bytes.
        store_free_bytes: Free in the store; None where nobody can tell, or nothing is lacking.
        lost: Models and tables that MLflow knows now, whose files neither the store nor the snapshot has; None where
            the snapshot is of another store.
    """

    snapshot: Wanted
    schema: Schema
    known: Mapping[str, int]
    bytes: int
    fetched_bytes: int
    lacking: Mapping[str, int]
    store_free_bytes: int | None
    lost: Lost | None


def look(stack: Stack, access: Access, host: str, wanted: str) -> Seen:
    """Look at a snapshot and at the stack; changes nothing.

    Args:
        stack: The stack.
        access: To the repository.
        host: Name of the Docker host in the repository.
        wanted: Beginning of the snapshot's id; empty for the newest.

    Raises:
        RefusedError: There is none, or somebody works on the repository.
        CutoverError: Repository, store or database cannot be read.
    """
    told = holder(stack.settings.directory / HOME)
    if told:
        raise RefusedError(told, "Wait until it has ended")
    owner = Owner(host, stack.project.name)
    with opened(Home.of(stack), access, None) as restic:
        snapshot, facts = chosen(restic, access, owner, wanted)
        databases = _list(restic, snapshot.id, _DATABASE)
        artifacts = _list(restic, snapshot.id, _entry(facts)) if _entry(facts) else {}
    meant = _meant(snapshot, facts)
    stack.start_tool(stack.planner, stack.credentials())
    with running_program(stack.planner, "info", "schema", "audit") as program:
        present = _present_database(program)
        # A snapshot of another store is refused.
        fits = meant.store == stack.store
        lacks = _lacking(program, artifacts, stack.store) if fits else {}
        return Seen(
            snapshot=meant,
            schema=_schema(program, facts, stack.project.image),
            known=present["of_users"],
            bytes=present["bytes"] or 0,
            fetched_bytes=sum(databases.values()),
            lacking=lacks,
            store_free_bytes=_free_bytes(program, stack.store) if lacks else None,
            lost=audited(lambda: program, stack.store, lacks) if fits else None,
        )


def fetch(stack: Stack, access: Access, record: RestoreRecord) -> list[str]:
    """Fetch the database of a snapshot, and bring artifacts back that the store lacks; what is there stays as it is.

    Returns what was done, for people.

    Raises:
        RefusedError: Somebody else works on the stack or its repository.
        CutoverError: Something could not be fetched or brought back; a later call goes on.
    """
    home = stack.settings.directory / HOME
    for path in (home, home / "cache"):
        path.mkdir(mode=0o700, exist_ok=True)
    run = _Fetch(stack, record)
    with locked(stack.settings.switches), locked(home):
        require_none_interrupted(load_all(stack.settings.switches))
        run.remove_leftovers()
        try:
            with opened(Home.of(stack), access, home / "cache") as restic:
                return [run.fetch_database(restic), *run.bring_artifacts_back(restic)]
        finally:
            shutil.rmtree(run.staging, ignore_errors=True)


class _Fetch:
    """What is brought from one snapshot to one stack."""

    def __init__(self, stack: Stack, record: RestoreRecord) -> None:
        self._stack = stack
        self._record = record
        self._fetched = Restore(stack, record).fetched
        self.staging = stack.settings.switches / record.id / STAGING

    def remove_leftovers(self) -> None:
        """Remove what runs have fetched that were killed before they closed MLflow: nobody goes on with that."""
        switches = self._stack.settings.switches
        for path in switches.glob(f"*/{STAGING}"):
            shutil.rmtree(path)
        for path in switches.glob(f"*/work/{FETCHED}"):
            path.unlink()

    def fetch_database(self, restic: Restic) -> str:
        self._restore_entry(restic, _DATABASE, [f"{ROOT}/{_DATABASE}"])
        found = [path for path in (self.staging / _DATABASE).iterdir() if path.is_file()]
        if len(found) != 1:
            raise CutoverError(f"the {self._record.snapshot} holds {len(found)} databases")
        with found[0].open("rb") as file:
            # A restore that a power cut has stopped goes on with it.
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        found[0].replace(self._fetched)
        return f"Fetched the database of the {self._record.snapshot}: {readable_size(size)}."

    def bring_artifacts_back(self, restic: Restic) -> list[str]:
        snapshot, store = self._record.snapshot, self._record.store
        if not snapshot.has_artifacts:
            return []
        entry = _entry_of(store)
        files = _list(restic, snapshot.id, entry)
        self._stack.start_tool(
            self._stack.copier,
            [*self._stack.credentials(), f"{self._staged(entry)}:{_STAGED}:ro,z"],
        )
        with running_program(self._stack.copier, "info", "copy") as program:
            missing = _lacking(program, files, store)
            for some in batches(patterns(missing, files, entry)):
                self._restore_entry(restic, entry, some)
            return [_copy(program, store)] if missing else ["The store has every artifact of the snapshot."]

    def _staged(self, entry: str) -> Path:
        path = self.staging / entry
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _restore_entry(self, restic: Restic, entry: str, include: Sequence[str]) -> None:
        staged = self._staged(entry)
        restic.call(
            *("restore", self._record.snapshot.id, "--target=/", "--verify"),
            *(f"--include={pattern}" for pattern in include),
            volumes=[f"{staged}:{ROOT}/{entry}:z"],
            capabilities=CAPABILITIES,
        )
        # The containers' user may be another one than at the time of the snapshot.
        hand_over(staged, self._stack.settings.uid, self._stack.settings.gid)


def hand_over(top: Path, uid: int, gid: int) -> None:
    """Give a directory to a user with all files in it, and remove what is neither, links above all."""
    for directory, directories, files in os.walk(top):
        os.chown(directory, uid, gid)
        for path in (Path(directory) / name for name in (*directories, *files)):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                os.chown(path, uid, gid)
            elif not stat.S_ISDIR(mode):
                path.unlink()


def _copy(program: Program, store: Store) -> str:
    # Somebody may have uploaded meanwhile.
    done = program.call("copy", _STAGED, store.uri, "--only-missing", accepted=(0, INCOMPLETE))
    if done["failed"]:
        first = "; ".join(f"{path}: {reason}" for path, reason in list(done["failed"].items())[:3])
        raise CutoverError(f"{len(done['failed'])} artifacts could not be brought back: {first}")
    copied = done["copied"]
    return f"Brought back to {store.uri}: {copied['files']} artifacts, {readable_size(copied['bytes'])}."


def _entry(facts: Facts) -> str:
    """Return what of a snapshot holds the artifacts; empty where it has none."""
    store = Store(facts.storage, facts.access, facts.uri, facts.root)
    return _entry_of(store) if facts.account or store.storage == "local" else ""


def _entry_of(store: Store) -> str:
    return "artifacts" if store.storage == "local" else "account"


def _meant(snapshot: Snapshot, facts: Facts) -> Wanted:
    return Wanted(
        id=snapshot.id,
        time=snapshot.time,
        mlflow=facts.mlflow,
        schema=facts.schema,
        runs=facts.runs,
        database=facts.database,
        store=Store(facts.storage, facts.access, facts.uri, facts.root),
        has_artifacts=bool(_entry(facts)),
        known=facts.known,
    )


def _list(restic: Restic, snapshot: str, entry: str) -> dict[str, int]:
    answer = restic.call("ls", "--json", "--recursive", "--no-lock", snapshot, f"{ROOT}/{entry}")
    return listed(answer, entry)


def _lacking(program: Program, files: Mapping[str, int], store: Store) -> dict[str, int]:
    """Return which files a store lacks; raises CutoverError where some directory of it cannot be listed."""
    if not files:
        return {}
    found = program.call("info", store.uri, "--names")["store"]
    if found["unreadable"]:
        path, reason = next(iter(found["unreadable"].items()))
        raise CutoverError(
            f"{store.uri} cannot be listed, so nobody can tell what it lacks: {path}: {reason}",
            "Mend what is named",
        )
    return lacking(files, found["names"])


def _free_bytes(program: Program, store: Store) -> int | None:
    free: int | None = program.call("info", store.uri, "--space")["store"]["free_bytes"]
    return free


def _present_database(program: Program) -> Mapping[str, Any]:
    try:
        present: Mapping[str, Any] = program.call("info")["database"]
    except CutoverError as error:
        raise RefusedError(
            f"The present database cannot be read, so that nobody can tell what a restore gives up: {error.seen}. "
            "Nothing was changed",
            "Start the stack, if it is stopped. If the database is damaged, give it the content of the snapshot by "
            "hand, as docs/restore.md says",
        ) from error
    return present


def _schema(program: Program, facts: Facts, image: str) -> Schema:
    """Return what the deployed MLflow says of the snapshot's schema."""
    try:
        return Schema.from_answer(program.call("schema", "--revision", " ".join(facts.schema)))
    except CutoverError as error:
        raise RefusedError(
            f"The deployed image {image} cannot tell what it makes of the snapshot's schema: {error.seen}. Nothing "
            "was changed",
            "Deploy this version of the collection first (site.yml, or playbooks/upgrade.yml where site.yml names it)",
        ) from error
