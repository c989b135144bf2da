# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of a stack that goes on serving: the database first, then what its rows lead to."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.account import (
    remove_files,
    superfluous,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import (
    INCOMPLETE,
    Snapshot,
    Sums,
    require_unlocked,
    unreadable,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import (
    ENTRIES,
    EXCLUDED,
    FACTS,
    MANIFEST,
    ROOT,
    SERVICES,
    Facts,
    Owner,
    expected_bytes,
    own_snapshots,
    require_known,
    require_room,
    retention,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.repository import require_apart
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import (
    Access,
    Home,
    Restic,
    opened,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.status import (
    age_of_last_good,
    note_failure,
    note_good,
    read_status,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import WORK
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    PYTHON,
    Program,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
    require_none_interrupted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.served import services_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack

# In the stack's directory: the database's copy, restic's cache, the account's copy.
HOME = "backup"
# Where the tool has the copy of the account.
_ACCOUNT = "/var/lib/mlflow-account"
# Images of earlier versions of the collection have no command for it.
_TELL = """
import importlib.metadata as metadata, json, os
import sqlalchemy as sa
engine = sa.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"])
with engine.connect() as connection:
    schema = [row[0] for row in connection.execute(sa.text("SELECT version_num FROM alembic_version"))]
    runs = connection.scalar(sa.text("SELECT count(*) FROM runs"))
versions = {name: metadata.version(name) for name in ("mlflow", "mlflow-sftp")}
print(json.dumps({"mlflow": versions["mlflow"], "collection": versions["mlflow-sftp"], "schema": schema, "runs": runs}))
"""


@dataclass(frozen=True)
class Options:
    """What a backup is told.

    Attributes:
        access: To the repository.
        host: Name of the Docker host in the repository.
        keep: How many snapshots of which period; empty for all.
        include_account: Whether the files of the SFTP account are backed up.
        check: Whether the repository is checked afterwards.
        check_data: How much of its data is read then, as restic takes it; empty for none.
        new_repository: Whether to begin with a repository, or with another one, where the last good backup was.
    """

    access: Access
    host: str
    keep: Mapping[str, Any] = field(default_factory=dict)
    include_account: bool = False
    check: bool = True
    check_data: str = ""
    new_repository: bool = False


def look(stack: Stack, options: Options) -> dict[str, Any]:
    """Say what a backup would do, and which snapshots there are; changes nothing."""
    backup = _Backup(stack, options)
    backup.require_ready()
    with opened(Home.of(stack), options.access, None) as restic:
        there = restic.repository_id()
        backup.require_known(there)
        snapshots = restic.snapshots() if there else []
        if there:
            require_unlocked(restic.locks(), options.access.repository)
        else:
            restic.require_empty()
    own = own_snapshots(snapshots, backup.owner)
    return {
        "changed": True,
        "snapshots": [_listed(each) for each in own],
        "lines": [
            f"Repository {options.access.repository}: "
            + (f"{len(own)} snapshots of {backup.owner}." if there else "not there yet, would be made."),
            *map(str, own),
            f"Would back up: {', '.join(backup.contents())}.",
            _age_line(stack.settings.directory),
        ],
    }


def back_up(stack: Stack, options: Options) -> dict[str, Any]:
    """Back up, and write down what became of it.

    Raises:
        RefusedError: Nothing was changed.
        CutoverError: Something failed; an incomplete snapshot is not kept.
    """
    backup = _Backup(stack, options)
    switches = stack.settings.switches
    try:
        backup.require_ready()
        home = stack.settings.directory / HOME
        for path in (switches, home):
            path.mkdir(mode=0o700, exist_ok=True)
        # A drill uses the repository as well, and changes nothing of the stack.
        with locked(switches), locked(home):
            require_none_interrupted(load_all(switches))
            stack.end_tidying()
            result = backup.run()
    except CutoverError as error:
        with contextlib.suppress(OSError):
            note_failure(stack.settings.directory, str(error))
        raise
    age = age_of_last_good(read_status(stack.settings.directory), time.time())
    note_good(stack.settings.directory, result)
    return {"changed": True, "backup": {**result, "age_before": age}, "lines": _lines(result, backup.notes)}


class _Backup:
    """One backup of a stack."""

    def __init__(self, stack: Stack, options: Options) -> None:
        self._stack = stack
        self._options = options
        self._home = stack.settings.directory / HOME
        self._work = self._home / "work"
        self._keep = retention(options.keep)
        self.owner = Owner(options.host, stack.project.name)
        self.notes: list[str] = []

    def require_ready(self) -> None:
        """Refuse what can be seen without a container."""
        directory = str(self._stack.settings.directory)
        require_apart(self._options.access.repository, directory, self._stack.store)
        require_none_interrupted(load_all(self._stack.settings.switches))
        if self._options.include_account and self._stack.store.storage != "sftp":
            raise RefusedError(
                "mlflow_backup_include_account is set, and the stack's artifacts are not on an SFTP account",
                "Leave it out; local artifacts are backed up in any case",
            )

    def require_known(self, found: str) -> None:
        """Refuse another repository than that of the last good backup, by its id, or none at its place."""
        last_good = read_status(self._stack.settings.directory).get("last_good") or {}
        location = str(self._options.access.repository)
        require_known(location, found, last_good, new=self._options.new_repository)

    def contents(self) -> list[str]:
        """Return what is backed up, for people."""
        found = [f"database ({'SQLite' if self._is_sqlite else 'PostgreSQL'})"]
        found += [f"volume {name}" for name in self._data_volumes()]
        if self._options.include_account:
            found.append(f"account {self._stack.store.uri}")
        if self._stack.project.on_swarm:
            found.append("what the swarm serves")
        return [*found, *(entry for entry in ENTRIES if (self._stack.settings.directory / entry).exists())]

    def run(self) -> dict[str, Any]:
        """Back up, forget what is too old, check."""
        began = time.monotonic()
        self._make_directories()
        try:
            with opened(Home.of(self._stack), self._options.access, self._home / "cache") as restic:
                result = self._run(restic)
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
        return {**result, "seconds": round(time.monotonic() - began, 1)}

    def _run(self, restic: Restic) -> dict[str, Any]:
        repository_id = self._prepare_repository(restic)
        own = own_snapshots(restic.snapshots(), self.owner)
        facts = self._copy_database(restic.size_of(own[-1]) if own else 0)
        self._write(FACTS, facts.as_dict())
        if self._stack.project.on_swarm:
            self._write(SERVICES, services_of(self._stack.project.name, self._stack.settings.directory))
        sums = self._take_snapshot(restic, facts)
        self._forget(restic)
        if self._options.check:
            subset = self._options.check_data
            restic.call("check", *([f"--read-data-subset={subset}"] if subset else []))
        return {
            "snapshot": sums.snapshot,
            "files": sums.files,
            "bytes": sums.bytes,
            "bytes_added": sums.bytes_added,
            "repository": str(self._options.access.repository),
            "repository_id": repository_id,
            "host": self.owner.host,
            **{name: facts.as_dict()[name] for name in ("project", "collection", "mlflow", "schema", "runs")},
        }

    def _write(self, name: str, content: Any) -> None:
        (self._work / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

    def _prepare_repository(self, restic: Restic) -> str:
        """Make the repository where there is none, and remove locks of the dead; return its id."""
        found = restic.repository_id()
        self.require_known(found)
        if not found:
            restic.require_empty()
            restic.initialize()
            found = restic.repository_id()
            self.notes.append(f"Made the repository {self._options.access.repository}.")
        locks = restic.locks()
        if locks:
            restic.unlock()
            alive = restic.locks()
            dead = [lock for lock in locks if lock not in alive]
            self.notes += [f"Removed the lock of {lock}, which is dead." for lock in dead]
            require_unlocked(alive, self._options.access.repository)
        return found

    def _copy_database(self, last: int) -> Facts:
        """Copy the database, then the account where that is asked for; return what the snapshot will hold.

        `last` is the size of the snapshot before, as for `expected_bytes`.
        """
        name = f"{self._stack.project.name}-backup-tool"
        volumes = [f"{self._work}:{WORK}:z", *self._stack.credentials()]
        if self._options.include_account:
            volumes.append(f"{self._home / 'account'}:{_ACCOUNT}:z")
        self._stack.start_tool(name, volumes)
        with running_program(name, "backup", "info") as program:
            present = program.call("info")["database"]
            account = self._clear_copy(program) if self._options.include_account else 0
            self._require_room(program, present["bytes"] or 0, account, last)
            before = told_by(name)
            target = "mlflow.db" if self._is_sqlite else "mlflow.dump"
            program.call("backup", f"{WORK}/database/{target}")
            after = told_by(name)
            if self._options.include_account:
                program.call("copy", self._stack.store.uri, _ACCOUNT, "--manifest", f"{_ACCOUNT}/{MANIFEST}")
        store = self._stack.store
        return Facts(
            project=self._stack.project.name,
            collection=after["collection"],
            mlflow=after["mlflow"],
            schema=tuple(after["schema"]),
            runs=(before["runs"], after["runs"]),
            database="sqlite" if self._is_sqlite else "postgresql",
            storage=store.storage,
            access=store.access,
            uri=store.uri,
            root=store.root,
            account=self._options.include_account,
            images=self._stack.project.images,
            known=present.get("of_users", {}),
            engine="swarm" if self._stack.project.on_swarm else "compose",
        )

    def _clear_copy(self, program: Program) -> int:
        """Remove from the copy of the account what that has no more; return the account's size in bytes.

        Before the database is copied: what comes after this listing, the copy brings.
        """
        uri, place = self._stack.store.uri, self._home / "account"
        account = program.call("info", uri, "--names")["store"]
        # Otherwise nobody can tell what it has, as the copy will say.
        if not account["unreadable"]:
            copied = program.call("info", _ACCOUNT, "--names")["store"]["names"]
            gone = superfluous(copied, account["names"], str(place), uri)
            remove_files(place, gone)
            if gone:
                self.notes.append(
                    f"Removed {len(gone)} files from the copy of the account, which has them no more."
                )
        return int(account["bytes"])

    def _require_room(self, program: Program, database: int, account: int, last: int) -> None:
        total = database
        if not self._stack.project.on_swarm:
            total += program.call("info", self._stack.settings.local_root)["store"]["bytes"]
        if self._options.include_account:
            present = program.call("info", _ACCOUNT)["store"]["bytes"]
            require_room(str(self._home), _free(self._home), database + max(0, account - present))
            total += account
        require_room(str(self._home), _free(self._home), database)
        repository = self._options.access.repository
        if repository.kind == "directory":
            free = _free(Path(repository.path))
            require_room(str(repository), free, expected_bytes(total, database, last))

    def _take_snapshot(self, restic: Restic, facts: Facts) -> Sums:
        done = restic.attempt(
            *("backup", "--json", "--quiet", f"--host={self.owner.host}", f"--tag={','.join(facts.tags)}"),
            *(f"--exclude={pattern}" for pattern in EXCLUDED),
            ROOT,
            volumes=self._volumes(),
        )
        if done.returncode not in (0, INCOMPLETE):
            raise restic.failed("backup", done)
        sums = Sums.from_answer(done.stdout)
        missed = unreadable(done.stdout + done.stderr)
        if missed:
            restic.call("forget", sums.snapshot)
            raise CutoverError(
                f"{len(missed)} files could not be read, so that the snapshot was not kept: {'; '.join(missed[:3])}",
                "See what is wrong with them, and run this again",
            )
        return sums

    def _forget(self, restic: Restic) -> None:
        if not self._keep:
            return
        # Tags tell versions as well, which are no reason to keep more.
        options = (*self.owner.options, "--group-by=", *self._keep, "--prune")
        done = restic.attempt("forget", *options)
        if done.returncode:
            error = restic.failed("forget", done)
            if "lock" not in error.seen:
                raise error
            # Somebody else backs up into the same repository.
            self.notes.append(f"Old snapshots stay until the next backup: {error.seen}.")

    def _volumes(self) -> list[str]:
        """Return what restic sees below its root."""
        directory = self._stack.settings.directory
        volumes = [
            f"{self._work / 'database'}:{ROOT}/database:ro,z",
            *(
                f"{self._work / name}:{ROOT}/{name}:ro,z"
                for name in (FACTS, SERVICES)
                if (self._work / name).exists()
            ),
            *(f"{name}:{ROOT}/{name.rpartition('_')[2]}:ro" for name in self._data_volumes()),
            *(
                f"{directory / entry}:{ROOT}/stack/{entry}:ro,z"
                for entry in ENTRIES
                if (directory / entry).exists()
            ),
        ]
        if self._options.include_account:
            volumes.append(f"{self._home / 'account'}:{ROOT}/account:ro,z")
        return volumes

    def _data_volumes(self) -> list[str]:
        names = [f"{self._stack.project.name}_{each}" for each in ("artifacts", "notebooks")]
        return [name for name in names if _has_volume(name)]

    def _make_directories(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        for path in (self._home, self._home / "cache", self._work):
            path.mkdir(mode=0o700, exist_ok=True)
        own = [self._work / "database"]
        if self._options.include_account:
            own.append(self._home / "account")
        for path in (*own, self._work):
            path.mkdir(mode=0o700, exist_ok=True)
            os.chown(path, self._stack.settings.uid, self._stack.settings.gid)

    @property
    def _is_sqlite(self) -> bool:
        return self._stack.database.startswith("sqlite:")


def told_by(container: str) -> Mapping[str, Any]:
    """Return versions, schema and number of runs, as a container with the database finds them."""
    answer: Mapping[str, Any] = json.loads(docker.run("exec", container, PYTHON, "-c", _TELL))
    return answer


def _has_volume(name: str) -> bool:
    return name in docker.run("volume", "ls", "--format={{.Name}}", f"--filter=name=^{name}$").split()


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free


def _listed(snapshot: Snapshot) -> dict[str, Any]:
    return {"id": snapshot.id, "time": snapshot.time, "tags": list(snapshot.tags), "bytes": snapshot.bytes}


def _lines(result: Mapping[str, Any], notes: list[str]) -> list[str]:
    return [
        *notes,
        f"Snapshot {result['snapshot'][:8]} of {result['runs'][1]} runs: {result['files']} files, "
        f"{readable_size(result['bytes'])}, of which {readable_size(result['bytes_added'])} were new; "
        f"{result['seconds']} s.",
    ]


def _age_line(directory: Path) -> str:
    age = age_of_last_good(read_status(directory), time.time())
    return (
        "No backup of this stack has succeeded yet."
        if age is None
        else f"The last good backup is {age} s old."
    )
