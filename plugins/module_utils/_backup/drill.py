# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill: a snapshot is restored beside the stack, verified run by run, and removed again."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import Snapshot
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.backup import HOME, told_by
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import (
    Facts,
    Owner,
    require_room,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.described import Described
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import (
    Access,
    Home,
    Restic,
    opened,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restoring import (
    DUMP,
    KINDS,
    RESTORE_DUMP,
    Place,
    chosen,
    restore_snapshot,
    services_in,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.second_project import (
    SERVER,
    require_apart,
    second_project,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import require_unharmed
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    Program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack

# Says whose a directory is; what lacks it is left alone.
_MARK = ".freegee.mlflow_sftp.drill"
# A server without the other services, and without what the terminal of a shell would do.
_RUN = ("run", "--rm", "--no-deps", "-T")
_SERVER_URI = "http://localhost:5000"


@dataclass(frozen=True)
class DrillOptions:
    """What a drill is told.

    Attributes:
        access: To the repository.
        host: Name of the Docker host in the repository.
        snapshot: Beginning of the id of the snapshot; empty for the newest.
        project: Of the second stack.
        directory: Of the second stack, which is deleted at the end.
        runs: How many runs are read back, or ``all``.
    """

    access: Access
    host: str
    snapshot: str
    project: str
    directory: Path
    runs: str


def look(stack: Stack, options: DrillOptions) -> dict[str, Any]:
    """Say what a drill would do; changes nothing."""
    drill = _Drill(stack, options)
    drill.require_apart()
    with opened(Home.of(stack), options.access, None) as restic:
        snapshot, facts, _ = drill.choose(restic)
    return {
        "changed": True,
        "lines": [
            f"Would restore {snapshot}; {facts.runs[1]} runs.",
            f"As project {options.project} in {options.directory}, which are removed again.",
        ],
    }


def drill(stack: Stack, options: DrillOptions) -> dict[str, Any]:
    """Restore, verify and remove.

    Raises:
        RefusedError: Nothing was changed.
        CutoverError: The snapshot could not be restored, or what was restored is not what was backed up.
    """
    began = time.monotonic()
    home = stack.settings.directory / HOME
    home.mkdir(mode=0o700, exist_ok=True)
    cache = home / "cache"
    cache.mkdir(mode=0o700, exist_ok=True)
    run = _Drill(stack, options)
    run.require_apart()
    with locked(home), opened(Home.of(stack), options.access, cache) as restic:
        snapshot, facts, described = run.choose(restic)
        run.require_startable(facts, described)
        run.require_room(snapshot)
        # Of a drill that was killed.
        run.remove()
        try:
            found = run.restore_and_verify(restic, snapshot, facts, described)
        finally:
            run.remove()
    seconds = round(time.monotonic() - began, 1)
    result = {"snapshot": snapshot.id, "age": int(time.time() - snapshot.time), **found, "seconds": seconds}
    return {"changed": True, "drill": result, "lines": _lines(snapshot, result)}


class _Drill:
    """One drill of a stack."""

    def __init__(self, stack: Stack, options: DrillOptions) -> None:
        self._stack = stack
        self._options = options
        self._place = Place(
            project=options.project,
            owner=options.directory,
            files=options.directory / "stack",
            database=options.directory / "database",
            account=options.directory / "account",
        )

    def require_apart(self) -> None:
        """Refuse names that are the stack's, or somebody else's."""
        project, directory = self._options.project, self._options.directory
        require_apart(project, str(directory), self._stack.project.name, str(self._stack.settings.directory))
        if directory.exists() and any(directory.iterdir()) and not (directory / _MARK).exists():
            raise RefusedError(
                f"{directory} holds something that no drill has left. Nothing was changed",
                "Name another directory in mlflow_backup_drill_dir",
            )
        for kind in KINDS:
            strangers = self._place.strangers(kind)
            if strangers:
                raise RefusedError(
                    f"There is a {kind} {strangers[0]} that no drill has left. Nothing was changed",
                    "Choose another mlflow_backup_drill_project",
                )

    def choose(self, restic: Restic) -> tuple[Snapshot, Facts, Described]:
        """Return the snapshot, what it holds, and its services."""
        owner = Owner(self._options.host, self._stack.project.name)
        snapshot, facts = chosen(restic, self._options.access, owner, self._options.snapshot)
        return snapshot, facts, services_in(restic, snapshot, facts)

    def require_startable(self, facts: Facts, described: Described) -> None:
        """Refuse a snapshot whose server could not be started here."""
        missing = [image for image in described.images if not docker.has_image(image)]
        if missing:
            raise RefusedError(
                f"The snapshot's stack runs {missing[0]}, which is not on this host. Nothing was changed",
                f"Deploy with version {facts.collection} of the collection that made it, or name another snapshot",
            )
        if facts.database == "postgresql" and not described.has_database:
            raise RefusedError(
                "The snapshot's database is one of your own, and a drill would have to restore into it. "
                "Nothing was changed",
                "Restore database/mlflow.dump with pg_restore into an empty database instead; see docs/restore.md",
            )

    def require_room(self, snapshot: Snapshot) -> None:
        """Refuse what does not fit into the engine's directory."""
        root = docker.root_directory()
        if root is not None and snapshot.bytes is not None:
            require_room(str(root), shutil.disk_usage(root).free, snapshot.bytes)

    def restore_and_verify(
        self, restic: Restic, snapshot: Snapshot, facts: Facts, described: Described
    ) -> dict[str, Any]:
        """Restore the snapshot, start its server and compare; returns what was read."""
        self._restore(restic, snapshot, facts)
        self._write_compose_file(facts, described)
        compose = docker.Compose(str(self._place.files))
        up = ("up", "--detach", "--no-build", "--wait", f"--wait-timeout={self._stack.settings.wait_timeout}")
        server = f"{self._options.project}-{SERVER}-1"
        with self._complaining(server):
            if facts.database == "postgresql":
                compose.run(*up, "postgres")
                with (self._place.database / DUMP).open("rb") as dump:
                    compose.run(*_RUN, SERVER, "mlflow-sftp", *RESTORE_DUMP, reading=dump)
            compose.run(*up, SERVER)
        return self._verify(server, facts)

    def remove(self) -> None:
        """Remove whatever of a drill there is."""
        self._place.remove()
        shutil.rmtree(self._options.directory, ignore_errors=True)

    def _restore(self, restic: Restic, snapshot: Snapshot, facts: Facts) -> None:
        place = self._place
        # Keys lie there.
        place.owner.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place.owner / _MARK).touch()
        for path in (place.files, place.account, place.database):
            path.mkdir(mode=0o755, exist_ok=True)
        restore_snapshot(restic, snapshot, facts, place, {})

    def _write_compose_file(self, facts: Facts, described: Described) -> None:
        reads_account = facts.storage == "sftp" and not facts.account
        settings, files = self._stack.settings, str(self._place.files)
        config = second_project(
            described.as_compose(files, settings.config_dir, settings.key_dir)
            if described.engine == "swarm"
            else docker.Compose(files).config(),
            self._options.project,
            str(self._options.directory),
            outside=self._stack.project.network if reads_account else "",
            way_out=reads_account and self._stack.project.on_swarm,
            account=str(self._place.account) if facts.account else "",
        )
        (self._place.files / "compose.yml").write_text(json.dumps(config, indent=2))

    def _verify(self, server: str, facts: Facts) -> dict[str, Any]:
        told = told_by(server)
        if not min(facts.runs) <= told["runs"] <= max(facts.runs):
            raise CutoverError(
                f"the restored database has {told['runs']} runs, and the snapshot says "
                f"{facts.runs[0]} to {facts.runs[1]}"
            )
        if tuple(told["schema"]) != facts.schema:
            raise CutoverError(
                f"the restored database has the schema {', '.join(told['schema'])}, and the snapshot says "
                f"{', '.join(facts.schema)}"
            )
        program = Program(server, ["audit", "read-back"])
        try:
            found = self._compare(program, facts)
            # What lies in the restored account is not where the rows lead.
            if not facts.account:
                found["read"] = self._read_back(program, facts)
        finally:
            program.end()
        return {"runs": told["runs"], **found}

    def _compare(self, program: Program, facts: Facts) -> dict[str, Any]:
        """Compare rows and files; whoever reads runs back would not miss a file that nobody lists."""
        store = str(self._place.account) if facts.account else facts.uri
        found = program.call("audit", facts.root, "--store", store, accepted=(0, INCOMPLETE))
        lost = [each for each in found["problems"] if each["kind"] in ("missing", "truncated", "unreadable")]
        require_unharmed({"problems": lost})
        return {
            "read": {},
            "locations": found["locations"],
            "files": found["files"],
            "bytes": found["bytes"],
        }

    def _read_back(self, program: Program, facts: Facts) -> dict[str, int]:
        found = program.call(
            *("read-back", facts.root, "--store", facts.uri, "--runs", self._options.runs),
            *("--tracking-uri", _SERVER_URI),
            accepted=(0, INCOMPLETE),
        )
        require_unharmed(found)
        return {"runs": found["runs"], "models": found["models"]}

    @contextlib.contextmanager
    def _complaining(self, server: str) -> Iterator[None]:
        """Add to an error what the restored services complain about."""
        try:
            yield
        except CutoverError as error:
            raise CutoverError(
                f"the restored stack does not start: {error.seen}",
                docker.complaints([server, f"{self._options.project}-postgres-1"]),
            ) from error


def _lines(snapshot: Snapshot, result: Mapping[str, Any]) -> list[str]:
    read = " and ".join(f"{count} {name}" for name, count in result["read"].items())
    return [
        f"Snapshot {snapshot} was restored beside the stack, and removed again. MLflow answered and knew "
        f"{result['runs']} runs; {result['locations']} locations have their files, {result['files']} files in all, "
        f"{readable_size(result['bytes'])}"
        + (f"; read back and compared: {read}" if read else "")
        + f"; {result['seconds']} s."
    ]
