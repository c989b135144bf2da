# SPDX-License-Identifier: GPL-3.0-or-later
"""Where backups go: what a repository's location means, and how restic is called for it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

# Where restic's container has a repository that is a directory, and what only it may read.
MOUNTED = "/repository"
SECRETS = "/run/mlflow_backup"

_HOST = r"(?:(?P<user>[^@/:\s]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)"
_SFTP_URL = re.compile(rf"sftp://{_HOST}(?::(?P<port>\d{{1,5}}))?/(?P<path>/.+)")
_SFTP = re.compile(rf"sftp:{_HOST}:(?P<path>/.+)")
_BACKENDS = ("azure:", "b2:", "gs:", "rclone:", "rest:", "s3:", "swift:")
_FORMS = "a directory of the Docker host (/srv/backup), sftp:user@host:/path or sftp://user@host:port//path"


@dataclass(frozen=True)
class Repository:
    """A restic repository.

    Attributes:
        kind: ``directory``, ``sftp`` or ``other``.
        location: As it was given.
        path: Of a directory, or on the SFTP server; empty with another kind.
        host: Of the SFTP server.
        user: On the SFTP server; empty for what the client's configuration says.
        port: Of the SFTP server; empty likewise.
    """

    kind: str
    location: str
    path: str = ""
    host: str = ""
    user: str = ""
    port: str = ""

    @classmethod
    def at(cls, location: str) -> Repository:
        """Return the repository at a location.

        Raises:
            RefusedError: It is none that restic could use, or holds a password.
        """
        if location.startswith("/"):
            path = str(PurePosixPath(location))
            if path == "/" or ".." in PurePosixPath(path).parts:
                raise _no_location(location)
            return cls("directory", location, path)
        if location.startswith("sftp:"):
            return cls._on_sftp(location)
        if not location.startswith(_BACKENDS):
            raise _no_location(location)
        if urlsplit(location.partition(":")[2]).password:
            raise RefusedError(
                "mlflow_backup_repository holds a password, which would be shown",
                "Give it in mlflow_backup_environment, as RESTIC_REST_PASSWORD or what else restic reads",
            )
        return cls("other", location)

    @classmethod
    def _on_sftp(cls, location: str) -> Repository:
        found = _SFTP_URL.fullmatch(location) or _SFTP.fullmatch(location)
        if found is None:
            raise _no_location(location)
        parts = found.groupdict()
        return cls(
            "sftp",
            location,
            str(PurePosixPath(parts["path"])),
            parts["host"].strip("[]"),
            parts["user"] or "",
            parts.get("port") or "",
        )

    @property
    def for_restic(self) -> str:
        """The location as restic's container has it."""
        if self.kind == "directory":
            return MOUNTED
        # Host, user and port are the SSH client's, whose command is given.
        return f"sftp:repository:{self.path}" if self.kind == "sftp" else self.location

    def __str__(self) -> str:
        return self.location


def ssh_options(repository: Repository, config_dir: str, *, own_key: bool) -> list[str]:
    """Return the options and the host that OpenSSH's clients take; whoever answers has to be known already.

    Args:
        repository: On an SFTP server.
        config_dir: Where the container has the configuration of the stack's account.
        own_key: Whether the repository has a key and known host keys of its own.
    """
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    if own_key:
        options += [
            *("-F", "none", "-i", f"{SECRETS}/key", "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={SECRETS}/known_hosts", "-o", "GlobalKnownHostsFile=none"),
            *("-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=30"),
        ]
    else:
        options += ["-F", f"{config_dir}/ssh_config"]
    if repository.user:
        options += ["-o", f"User={repository.user}"]
    if repository.port:
        options += ["-o", f"Port={repository.port}"]
    return options


def restic_options(repository: Repository, config_dir: str, *, own_key: bool) -> list[str]:
    """Return what restic is told besides the location and what is secret."""
    if repository.kind != "sftp":
        return []
    command = ["ssh", *ssh_options(repository, config_dir, own_key=own_key), repository.host, "-s", "sftp"]
    return ["-o", f"sftp.command={shlex.join(command)}"]


def require_apart(repository: Repository, stack_directory: str, store: Store) -> None:
    """Refuse a repository that lies in what it backs up.

    Raises:
        RefusedError: It would be lost with the stack, or be taken for artifacts.
    """
    path = PurePosixPath(repository.path or "/")
    if repository.kind == "directory" and path.is_relative_to(stack_directory):
        raise RefusedError(
            f"The repository {repository} lies in the stack's directory {stack_directory}, and would be lost with it",
            "Name a directory elsewhere, best on another disk or machine",
        )
    account = urlsplit(store.uri) if store.storage == "sftp" else None
    if (
        repository.kind == "sftp"
        and account is not None
        and account.hostname == repository.host
        and path.is_relative_to(account.path or "/")
    ):
        raise RefusedError(
            f"The repository {repository} lies in the artifact store {store.uri}, and would be taken for artifacts",
            "Name a directory beside it, or another account",
        )


def _no_location(location: str) -> RefusedError:
    return RefusedError(
        f"mlflow_backup_repository is {location!r}, which restic could not use",
        f"Give {_FORMS}, or what restic takes with mlflow_backup_environment ({', '.join(_BACKENDS)})",
    )
