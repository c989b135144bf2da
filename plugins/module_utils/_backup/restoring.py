# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot becomes files, volumes and a database again, for a drill beside a stack or for a stack itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import Snapshot
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import (
    FACTS,
    ROOT,
    SERVICES,
    Facts,
    Owner,
    choose,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.described import Described
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import Access, Restic
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL

# What a container needs that gives files to whom they belonged.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
_LISTS = {
    "container": ("ls", "--all", "--format={{.Names}}"),
    "network": ("ls", "--format={{.Name}}"),
    "volume": ("ls", "--format={{.Name}}"),
}
DUMP = "mlflow.dump"
# A server's program has written the dump: PostgreSQL's own may be an older one, which cannot read it, and would bring
# what is not MLflow's as well.
RESTORE_DUMP = ("restore", "-")


@dataclass(frozen=True)
class Place:
    """Where a snapshot is restored.

    Attributes:
        project: Of Compose, which the names of the volumes begin with.
        owner: Directory whose label everything bears.
        files: Directory of the stack's own files.
        database: Directory of a dump.
        account: Directory of an account's files.
    """

    project: str
    owner: Path
    files: Path
    database: Path
    account: Path

    def own(self, kind: str) -> set[str]:
        """Return what bears the owner's label: containers, networks or volumes."""
        return set(docker.run(kind, *_LISTS[kind], f"--filter=label={LABEL}={self.owner}").split())

    def strangers(self, kind: str) -> list[str]:
        """Return what bears a name of the project, and not the label."""
        names = docker.run(kind, *_LISTS[kind]).split()
        own = (f"{self.project}-", f"{self.project}_")
        return sorted(
            {name for name in names if name == self.project or name.startswith(own)} - self.own(kind)
        )

    def remove(self) -> None:
        """Remove whatever bears the label."""
        for kind in _LISTS:
            found = sorted(self.own(kind))
            if found:
                docker.run(kind, "rm", "--force", *found)


KINDS = tuple(_LISTS)


def chosen(restic: Restic, access: Access, owner: Owner, wanted: str) -> tuple[Snapshot, Facts]:
    """Return the snapshot that is meant, and what it holds; raises RefusedError where there is none."""
    if not restic.repository_id():
        raise RefusedError(f"There is no repository at {access.repository}", "Run playbooks/backup.yml first")
    snapshot = choose(restic.snapshots(), owner, wanted)
    facts = json.loads(restic.call("dump", snapshot.id, f"{ROOT}/{FACTS}", "--no-lock"))
    return snapshot, Facts.from_dict(facts)


def services_in(restic: Restic, snapshot: Snapshot, facts: Facts) -> Described:
    """Return the services of a snapshot."""
    file = SERVICES if facts.engine == "swarm" else "stack/compose.yml"
    return Described(restic.call("dump", snapshot.id, f"{ROOT}/{file}", "--no-lock"), facts.engine)


def restore_snapshot(
    restic: Restic, snapshot: Snapshot, facts: Facts, place: Place, labels: Mapping[str, Mapping[str, str]]
) -> None:
    """Make volumes, and restore all files of a snapshot; each is read again and compared.

    Args:
        restic: On the repository.
        snapshot: Which.
        facts: What it holds.
        place: Where to; its directories are there.
        labels: Further ones of the volumes, by what follows the project in their names.
    """
    is_sqlite = facts.database == "sqlite"
    filled = ("artifacts", "notebooks", *(("database",) if is_sqlite else ()))
    mounts = [f"{place.files}:{ROOT}/stack:z", f"{place.account}:{ROOT}/account:z"]
    mounts += [] if is_sqlite else [f"{place.database}:{ROOT}/database:z"]
    for name in ("artifacts", "notebooks", "database", *(() if is_sqlite else ("postgres",))):
        more = [f"--label={key}={value}" for key, value in labels.get(name, {}).items()]
        docker.run("volume", "create", f"--label={LABEL}={place.owner}", *more, f"{place.project}_{name}")
    mounts += [f"{place.project}_{name}:{ROOT}/{name}" for name in filled]
    restic.call("restore", snapshot.id, "--target=/", "--verify", volumes=mounts, capabilities=CAPABILITIES)


def restore_files(restic: Restic, snapshot: Snapshot, place: Place) -> None:
    """Restore the stack's own files of a snapshot alone; each is read again and compared."""
    restic.call(
        *("restore", snapshot.id, "--target=/", "--verify", f"--include={ROOT}/stack"),
        volumes=[f"{place.files}:{ROOT}/stack:z"],
        capabilities=CAPABILITIES,
    )
