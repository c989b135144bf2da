# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack comes back on a host that has none: its directory, its volumes and its database, from a snapshot.

Of a stack that a swarm serves, the files come back alone: its services, and with them the database, are made anew.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import Snapshot
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import Facts, Owner
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import (
    Access,
    Home,
    Restic,
    opened,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restoring import (
    DUMP,
    Place,
    chosen,
    restore_files,
    restore_postgres,
    restore_snapshot,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked

_ENGINES = {"compose": "Docker Compose", "swarm": "a swarm"}
# What is there until all of a restore is; whoever finds it knows that the volumes are not complete.
_STAGING = Path("backup") / "restoring"
_COMPOSE = "compose.yml"
# Those that no deployment of a swarm's stack makes anew as they were; .env would say that it has been deployed.
_OF_SWARM = (".other_stores.json", ".secrets", "mlflow", "postgres", "switches")


@dataclass(frozen=True)
class RestoreOptions:
    """What a restore is told.

    Attributes:
        access: To the repository.
        owner: Whose snapshots are meant.
        snapshot: Beginning of the id of the snapshot; empty for the newest.
        directory: Of the stack.
        wait_timeout: Seconds within which PostgreSQL has to be healthy.
        engine: What is to run the services: ``compose`` or ``swarm``.
    """

    access: Access
    owner: Owner
    snapshot: str
    directory: Path
    wait_timeout: int
    engine: str = "compose"

    @property
    def on_swarm(self) -> bool:
        """Whether a swarm is to serve the stack."""
        return self.engine == "swarm"


def look(options: RestoreOptions) -> dict[str, Any]:
    """Say what would be restored; changes nothing."""
    _require_bare(options)
    with opened(Home(options.owner.project, options.directory), options.access, None) as restic:
        snapshot, facts = chosen(restic, options.access, options.owner, options.snapshot)
        _require_engine(facts, options)
    then = ", deploy the stack, and give its database the content of the snapshot" if options.on_swarm else ""
    return {
        "changed": True,
        "lines": [f"Would restore {snapshot}; {facts.runs[1]} runs, to {options.directory}{then}."],
    }


def restore(options: RestoreOptions) -> dict[str, Any]:
    """Restore a snapshot to a host that has no such stack.

    Raises:
        RefusedError: Nothing was changed.
        CutoverError: It failed; what had been restored is removed again.
    """
    began = time.monotonic()
    _require_bare(options)
    place = _place(options)
    with opened(Home(options.owner.project, options.directory), options.access, None) as restic:
        snapshot, facts = chosen(restic, options.access, options.owner, options.snapshot)
        _require_engine(facts, options)
        if not options.on_swarm:
            _require_own_service(facts)
        home = options.directory / "backup"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        options.directory.chmod(0o755)
        with locked(home):
            _remove(place, options)
            try:
                deed = _restore_files if options.on_swarm else _restore
                deed(restic, snapshot, facts, place, options)
            except BaseException:
                _remove(place, options)
                raise
    seconds = round(time.monotonic() - began, 1)
    return {
        "changed": True,
        "restored": {"snapshot": snapshot.id, "runs": list(facts.runs), "seconds": seconds},
        "lines": _lines(snapshot, facts, options, seconds),
    }


def _restore(restic: Restic, snapshot: Snapshot, facts: Facts, place: Place, options: RestoreOptions) -> None:
    for path in (place.files, place.database, place.account):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    restore_snapshot(restic, snapshot, facts, place, _compose_labels(options.owner.project))
    for path in sorted(place.files.iterdir()):
        if path.name != _COMPOSE:
            path.replace(options.directory / path.name)
    if facts.database == "postgresql":
        # Until all is there, nobody else finds a Compose file.
        shutil.copy2(options.directory / ".env", place.files / ".env")
        compose = docker.Compose(str(options.directory), str(place.files))
        wait = ("--wait", f"--wait-timeout={options.wait_timeout}")
        compose.run("up", "--detach", "--no-build", *wait, "postgres")
        restore_postgres(f"{options.owner.project}-postgres-1", place.database / DUMP)
    if facts.account:
        place.account.replace(options.directory / "backup" / "account")
    (place.files / _COMPOSE).replace(options.directory / _COMPOSE)
    shutil.rmtree(options.directory / _STAGING)


def _restore_files(
    restic: Restic, snapshot: Snapshot, facts: Facts, place: Place, options: RestoreOptions
) -> None:
    place.files.mkdir(mode=0o755, parents=True)
    restore_files(restic, snapshot, place)
    for name in _OF_SWARM:
        if (place.files / name).exists():
            (place.files / name).replace(options.directory / name)
    shutil.rmtree(options.directory / _STAGING)


def _place(options: RestoreOptions) -> Place:
    staging = options.directory / _STAGING
    return Place(
        project=options.owner.project,
        owner=options.directory,
        files=staging / "stack",
        database=staging / "database",
        account=staging / "account",
    )


def _require_bare(options: RestoreOptions) -> None:
    """Refuse a host that has the stack, or a part of it."""
    if (options.directory / _STAGING).exists() and not (options.directory / _COMPOSE).exists():
        # Of a restore that was interrupted.
        return
    # Where the swarm goes on without its home, this may be a node that runs something of the stack.
    own = set() if options.on_swarm else _place(options).own("volume") | _place(options).own("container")
    entries = [name for name in (_COMPOSE, ".env", ".secrets") if (options.directory / name).exists()]
    if own or entries:
        found = ", ".join([*(f"{options.directory}/{name}" for name in entries), *sorted(own)])
        raise RefusedError(
            f"This host has a part of the stack ({found}), which a restore would replace. Nothing was changed",
            "Deploy it (site.yml) and run this playbook again, which restores into it; or remove it first "
            "(playbooks/teardown.yml -e keep_data=false deletes all its data)",
        )


def _require_engine(facts: Facts, options: RestoreOptions) -> None:
    """Refuse a snapshot of a stack that something else served."""
    if facts.engine != options.engine:
        raise RefusedError(
            f"The snapshot is of a stack that {_ENGINES[facts.engine]} served, and the inventory has "
            f"mlflow_stack_engine {options.engine}. Nothing was changed",
            f"Set mlflow_stack_engine to {facts.engine}, or name another snapshot",
        )


def _require_own_service(facts: Facts) -> None:
    """Refuse a snapshot whose database was not the stack's, which would have to be restored elsewhere."""
    if facts.database == "postgresql" and not any("postgres" in image for image in facts.images):
        raise RefusedError(
            "The snapshot's database was one of your own. Nothing was changed",
            "Restore database/mlflow.dump into it by hand, as docs/restore.md says",
        )


def _remove(place: Place, options: RestoreOptions) -> None:
    """Remove what a restore has made that did not end."""
    directory = options.directory
    if not options.on_swarm:
        place.remove()
    staging = directory / _STAGING
    if not staging.exists():
        return
    for name in (".env", ".other_stores.json", ".secrets", "mlflow", "postgres", "switches"):
        path = directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree(staging)


def _compose_labels(project: str) -> Mapping[str, Mapping[str, str]]:
    """Return the labels by which Compose knows the volumes of its project."""
    return {
        name: {"com.docker.compose.project": project, "com.docker.compose.volume": name}
        for name in ("artifacts", "notebooks", "database", "postgres")
    }


def _lines(snapshot: Snapshot, facts: Facts, options: RestoreOptions, seconds: float) -> list[str]:
    if options.on_swarm:
        return [
            f"Restored the files of {snapshot} to {options.directory}; {seconds} s. The database follows once the "
            "swarm serves the stack."
        ]
    lines = [f"Restored {snapshot} to {options.directory}: {facts.runs[1]} runs; {seconds} s."]
    if facts.account:
        lines.append(
            f"The files of the SFTP account are in {options.directory}/backup/account; bring what is missing there "
            f"back with mlflow-sftp copy to {facts.uri}."
        )
    elif facts.storage == "sftp":
        lines.append(f"Artifacts are where they were, at {facts.uri}.")
    return lines
