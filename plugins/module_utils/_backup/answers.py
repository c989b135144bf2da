# SPDX-License-Identifier: GPL-3.0-or-later
"""What restic answers: snapshots, locks, sums, and what its complaints mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.times import readable_time

# What a snapshot of this collection bears beside what is known of it.
OWN_TAG = "freegee.mlflow_sftp"
# Exit code of a backup that could not read everything.
INCOMPLETE = 3
_GONE = "no such file or directory"
_TIME = re.compile(r"(.{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a repository.

    Attributes:
        id: Of 64 digits.
        time: When it was begun, seconds since the epoch.
        host: The Docker host's name in the inventory.
        tags: With ``project=NAME`` and so on.
        bytes: Of all its files; None where an earlier restic made it, which does not note that (before 0.17).
    """

    id: str
    time: float
    host: str
    tags: tuple[str, ...] = ()
    bytes: int | None = None

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot that ``restic snapshots --json`` lists."""
        return cls(
            id=answer["id"],
            time=seconds_of(answer["time"]),
            host=answer.get("hostname", ""),
            tags=tuple(answer.get("tags") or ()),
            bytes=(answer.get("summary") or {}).get("total_bytes_processed"),
        )

    def tag(self, name: str) -> str:
        """Return what ``NAME=VALUE`` among the tags says; empty for nothing."""
        values = (tag.partition("=")[2] for tag in self.tags if tag.startswith(f"{name}="))
        return next(values, "")

    @property
    def of(self) -> tuple[str, str]:
        """Whose it is: Docker host and project; the project is empty where this collection did not make it."""
        return self.host, self.tag("project") if OWN_TAG in self.tags else ""

    def __str__(self) -> str:
        return (
            f"{self.id[:8]} of {readable_time(self.time)}: MLflow {self.tag('mlflow') or '?'}, "
            f"schema {self.tag('schema') or '?'}, collection {self.tag('collection') or '?'}"
        )


@dataclass(frozen=True)
class Lock:
    """A lock in a repository, and who made it."""

    host: str
    user: str
    pid: int
    time: float
    exclusive: bool

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Lock:
        """Return the lock that ``restic cat lock`` shows."""
        return cls(
            host=answer.get("hostname", ""),
            user=answer.get("username", ""),
            pid=int(answer.get("pid", 0)),
            time=seconds_of(answer["time"]),
            exclusive=bool(answer.get("exclusive")),
        )

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user or 'somebody'} on {self.host}, since {readable_time(self.time)}"


@dataclass(frozen=True)
class Sums:
    """What a backup has brought into the repository; sizes in bytes."""

    snapshot: str
    files: int
    bytes: int
    bytes_added: int

    @classmethod
    def from_answer(cls, text: str) -> Sums:
        """Return what ``restic backup --json`` sums up; raises CutoverError where it does not."""
        for answer in reversed(list(objects(text))):
            if answer.get("message_type") == "summary":
                return cls(
                    snapshot=answer["snapshot_id"],
                    files=answer["total_files_processed"],
                    bytes=answer["total_bytes_processed"],
                    # Of what was compressed, which earlier versions do not tell.
                    bytes_added=answer.get("data_added_packed", answer["data_added"]),
                )
        raise CutoverError("restic ended without saying what it has backed up")


def objects(text: str) -> Iterable[Mapping[str, Any]]:
    """Return the objects of an answer that has one a line."""
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def unreadable(text: str) -> list[str]:
    """Return the files that a backup could not read, each with why.

    A file that is deleted while it is looked at, as MLflow's clients do, lacks nothing.
    """
    found = []
    for answer in objects(text):
        if answer.get("message_type") != "error":
            continue
        error = answer.get("error") or {}
        said = str(error.get("message", "") if isinstance(error, Mapping) else error)
        if not said.endswith(_GONE):
            found.append(f"{answer.get('item', '')}: {said}".removeprefix("/backup/"))
    return found


def is_absent(said: str, exit_code: int) -> bool:
    """Say whether restic's answer means that there is no repository yet."""
    # Versions before 0.17 have no exit code for it.
    return exit_code == 10 or "Is there a repository at the following location" in said


# What restic, ssh and the servers say, what it means, and what to do about it.
_COMPLAINTS = (
    (
        "Host key verification failed",
        "the SFTP server's host key is unknown or has changed",
        "Compare it with what the server's operator publishes, then put it into mlflow_backup_known_hosts, or into "
        "sftp_host_key_fingerprints where the stack's own account is used, and run site.yml",
    ),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the SFTP server's host key has changed",
        "Ask the server's operator before you trust the new one",
    ),
    (
        "wrong password or no key found",
        "the password does not open the repository",
        "Give the password that it was made with in mlflow_backup_password",
    ),
    (
        "Permission denied (",
        "the SFTP server does not accept the key",
        "Authorize it on the account, or give another one in mlflow_backup_private_key",
    ),
    (
        "Could not resolve hostname",
        "the SFTP server's name is unknown in the container's network",
        "Give an address or a name that the Docker host resolves",
    ),
    ("Connection refused", "nothing listens there", "Start the server, or correct host and port"),
    ("Connection timed out", "the server does not answer", "Start the server, or open the way to it"),
    ("No route to host", "the server cannot be reached", "Open the way to it"),
    (
        "no space left on device",
        "the file system of the repository is full",
        "Make room, or keep fewer snapshots (mlflow_backup_keep); what was written lies there unused until the next "
        "backup that succeeds has pruned it",
    ),
    (
        "disk quota exceeded",
        "the quota of the repository's account is used up",
        "Make room, or keep fewer snapshots (mlflow_backup_keep)",
    ),
    (
        "permission denied",
        "access is denied",
        "Let the account, or root in a container, read and write there",
    ),
    (
        "Access Denied",
        "access is denied",
        "Correct what mlflow_backup_environment gives to log in",
    ),
    (
        "already locked",
        "somebody else holds a lock",
        "Wait until it has ended; whoever ended without unlocking is passed over after half an hour",
    ),
)


def explain(command: str, repository: object, said: str, exit_code: int) -> CutoverError:
    """Return what an answer of restic's means that failed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = f"restic {command} on {repository} failed"
    for words, meaning, remedy in _COMPLAINTS:
        line = next((line for line in lines if words.lower() in line.lower()), "")
        if line:
            return CutoverError(f"{told}: {meaning} ({line[-300:]})", remedy)
    # The cause comes first, then hints.
    fatal = [line for line in lines if line.startswith("Fatal: ")] or lines[-2:]
    shown = "; ".join(fatal[:2])[-500:] or "it said nothing"
    return CutoverError(f"{told} with exit code {exit_code}: {shown}", "")


def require_unlocked(locks: Iterable[Lock], repository: object) -> None:
    """Refuse a repository that somebody else changes right now.

    Raises:
        RefusedError: An exclusive lock of a living process is there; it says whose.
    """
    held = [lock for lock in locks if lock.exclusive]
    if held:
        raise RefusedError(
            f"The repository {repository} is locked by {'; '.join(map(str, held))}. Nothing was changed",
            "Wait until it has ended. A lock that is not renewed counts as dead after half an hour, and goes with the "
            "next backup",
        )


def seconds_of(text: str) -> float:
    """Return a time of restic's, whose fraction has more digits than Python reads, in seconds since the epoch."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise CutoverError(f"restic names a time that is none: {text!r}")
    begin, fraction, zone = found.groups()
    whole = datetime.fromisoformat(begin + zone.replace("Z", "+00:00")).timestamp()
    return whole + float(f"0.{fraction or 0}")
