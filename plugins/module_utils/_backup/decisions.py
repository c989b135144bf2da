# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a stack is backed up, for how long, whether there is room for it, and which snapshot is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import OWN_TAG, Snapshot
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size

# Of the stack's directory, as far as they are there. What is built, and backups themselves, come from elsewhere.
ENTRIES = (".env", ".other_stores.json", ".secrets", "compose.yml", "mlflow", "postgres", "switches")
# Where a snapshot has all of it: one path, so that restic finds the snapshot before, whatever was added since.
ROOT = "/backup"
FACTS = "facts.json"
# What a swarm serves; on Compose, compose.yml says it.
SERVICES = "services.json"
# In the directory of a restore: what is fetched, until it is where it belongs.
STAGING = "staging"
# What remembers the copy of the account.
MANIFEST = ".manifest.db"
# Unfinished files have no run yet, and earlier states of the database were backed up when they were the present one.
EXCLUDED = (
    ".mlflow-sftp-*.part",
    f"{ROOT}/account/{MANIFEST}",
    f"{ROOT}/stack/switches/*/.reserve",
    f"{ROOT}/stack/switches/*/work/database.*",
    f"{ROOT}/stack/switches/*/{STAGING}",
)
# Of the facts: earlier snapshots lack them.
_LATER = ("known", "engine")
PERIODS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
# What restic needs besides: indexes, and packs that are not full yet.
_MARGIN_BYTES = 64 << 20


@dataclass(frozen=True)
class Facts:
    """What a snapshot holds, beside its files.

    Attributes:
        project: Of Compose.
        collection: Version of the collection.
        mlflow: Version of MLflow.
        schema: Revisions of the database.
        runs: How many there were before and after the database was copied.
        database: ``sqlite`` or ``postgresql``.
        storage: ``local`` or ``sftp``.
        access: ``direct`` or ``proxied``.
        uri: Of the artifact store.
        root: What experiments record.
        account: Whether the files of the SFTP account are in it.
        images: Of the services.
        known: How many runs and so on MLflow knew before the database was copied; empty where nobody noted it.
        engine: What ran the services: ``compose`` or ``swarm``.
    """

    project: str
    collection: str
    mlflow: str
    schema: tuple[str, ...]
    runs: tuple[int, int]
    database: str
    storage: str
    access: str
    uri: str
    root: str
    account: bool
    images: tuple[str, ...]
    known: Mapping[str, int] = field(default_factory=dict)
    engine: str = "compose"

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Facts:
        """Return the facts of a snapshot; raises RefusedError where they cannot be understood."""
        try:
            known: dict[str, Any] = {
                name: value[name] for name in cls.__dataclass_fields__ if name not in _LATER
            }
        except (KeyError, TypeError) as error:
            raise RefusedError(
                f"The snapshot's {FACTS} cannot be understood: it has no {error}",
                "Use the version of the collection that made the snapshot",
            ) from error
        known |= {name: tuple(each) for name, each in known.items() if isinstance(each, list)}
        return cls(**known, **{name: value[name] for name in _LATER if name in value})

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON."""
        return {name: list(each) if isinstance(each, tuple) else each for name, each in vars(self).items()}

    @property
    def tags(self) -> tuple[str, ...]:
        """What the snapshot can be found by."""
        return (
            OWN_TAG,
            f"project={self.project}",
            f"collection={self.collection}",
            f"mlflow={self.mlflow}",
            f"schema={'+'.join(self.schema) or 'none'}",
        )


@dataclass(frozen=True)
class Owner:
    """Whose snapshots are meant: of a project on a Docker host, as the inventory names it."""

    host: str
    project: str

    def has(self, snapshot: Snapshot) -> bool:
        """Say whether a snapshot is one of those."""
        return snapshot.of == (self.host, self.project)

    @property
    def options(self) -> tuple[str, ...]:
        """What makes restic look at those only."""
        return (f"--host={self.host}", f"--tag={OWN_TAG},project={self.project}")

    def __str__(self) -> str:
        return f"project {self.project} on {self.host}"


def retention(keep: Mapping[str, Any]) -> list[str]:
    """Return how restic is told which snapshots to keep; empty for all.

    Raises:
        RefusedError: It says something else than numbers of snapshots.
    """
    unknown = sorted(set(keep) - set(PERIODS))
    if unknown:
        raise RefusedError(
            f"mlflow_backup_keep has {', '.join(unknown)}, which restic would not understand",
            f"Name some of {', '.join(PERIODS)}, each with a number",
        )
    wrong = [name for name, count in keep.items() if not str(count).isdecimal()]
    if wrong:
        raise RefusedError(
            f"mlflow_backup_keep.{wrong[0]} is {keep[wrong[0]]!r}", "Give the number of snapshots to keep"
        )
    return [f"--keep-{name}={int(keep[name])}" for name in PERIODS if int(keep.get(name, 0))]


def own_snapshots(snapshots: Sequence[Snapshot], owner: Owner) -> list[Snapshot]:
    """Return the snapshots of a project, the earliest first."""
    return sorted((each for each in snapshots if owner.has(each)), key=lambda each: each.time)


def choose(snapshots: Sequence[Snapshot], owner: Owner, wanted: str) -> Snapshot:
    """Return the snapshot that is meant: the newest, or the one whose id begins with `wanted`.

    Raises:
        RefusedError: There is none, there are several, or it is of another project.
    """
    own = own_snapshots(snapshots, owner)
    if not wanted:
        if own:
            return own[-1]
        others = sorted({f"project {each.of[1]} on {each.of[0]}" for each in snapshots if each.of[1]})
        besides = f"; it has those of {', '.join(others)}" if others else ""
        raise RefusedError(
            f"The repository holds no snapshot of {owner}{besides}",
            "Run playbooks/backup.yml first, or name the host in mlflow_backup_host",
        )
    found = [each for each in snapshots if each.id.startswith(wanted)]
    if len(found) != 1:
        raise RefusedError(
            f"The repository holds {len(found)} snapshots whose id begins with {wanted}",
            "playbooks/backup.yml --check lists those of this stack",
        )
    if not owner.has(found[0]):
        host, project = found[0].of
        made = (
            f"of project {project} on {host}"
            if project
            else f"of {host}, and not of this collection's making"
        )
        raise RefusedError(
            f"The snapshot {wanted} is {made}, and this is {owner}. Nothing was changed",
            "Name one of this stack's; playbooks/backup.yml --check lists them",
        )
    return found[0]


def require_known(location: str, found: str, last_good: Mapping[str, Any], *, new: bool) -> None:
    """Refuse to begin with a repository, or with another one, at the place that has the last good backup.

    A disk that is not mounted leaves an empty directory, in which a repository would be made on the wrong disk.

    Args:
        location: Of the repository.
        found: Id of the repository that is there; empty where there is none.
        last_good: What is known of the last good backup; that of an earlier version lacks the repository's id.
        new: Whether somebody consents.

    Raises:
        RefusedError: Nobody does.
    """
    known = str(last_good.get("repository_id") or "")
    if new or last_good.get("repository") != location or (found and known in ("", found)):
        return
    seen = f"another repository ({found[:8]} instead of {known[:8]})" if found else "no repository"
    raise RefusedError(
        f"There is {seen} at {location}, where the last good backup was brought to ({last_good.get('finished')}). "
        "Nothing was changed",
        "See whether its disk is mounted, or what else holds it is there, and run this again. Where that repository is "
        "given up, run playbooks/backup.yml -e new_repository=true",
    )


def require_room(place: str, free: int, expected: int) -> None:
    """Refuse what does not fit.

    Args:
        place: Where.
        free: Bytes that are free there.
        expected: Bytes that will be written there at most, as far as anybody knows.

    Raises:
        RefusedError: There is less.
    """
    if free < expected:
        raise RefusedError(
            f"{place} has {readable_size(free)} free, and the backup may need {readable_size(expected)}. "
            "Nothing was changed",
            "Make room, or keep fewer snapshots (mlflow_backup_keep)",
        )


def expected_bytes(total: int, database: int, last: int) -> int:
    """Return how much a backup writes into its repository at most, in bytes.

    Args:
        total: Of all that is backed up.
        database: Of the database, which differs from that of the snapshot before in places that nobody knows.
        last: Of the snapshot before, which is not written again; 0 where there is none.
    """
    return max(0, total - last) + (database if last else 0) + _MARGIN_BYTES
