# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as exceptions that say operation, endpoint, what was seen and what to do.

Nothing here imports MLflow (that takes seconds); the artifact repository turns these into MlflowException
subclasses with the `error_code` named here.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

_log = logging.getLogger(__name__)


@contextmanager
def first_error_kept() -> Iterator[None]:
    """For what a `finally` does: where that fails after an error, the log has it, and the first error is raised."""
    first = sys.exc_info()[1]
    try:
        yield
    except Exception as error:
        if first is None:
            raise
        _log.warning("After %s: %s", type(first).__name__, error)


class StorageError(Exception):
    """Base of every error this package raises: an operation was refused or failed.

    Args:
        seen: What happened, in one sentence.
        remedy: What the reader can do about it.
    """

    error_code: ClassVar[str] = "INTERNAL_ERROR"
    default_remedy: ClassVar[str] = ""
    # Whether it is certain that nothing was changed; an operation that can tell says so.
    unchanged: bool = False

    def __init__(self, seen: str, remedy: str = "") -> None:
        self.seen = seen
        self.remedy = remedy or self.default_remedy
        super().__init__(seen, remedy)

    def __str__(self) -> str:
        return f"{self.seen}: {self.remedy}" if self.remedy else self.seen

    @property
    def cause(self) -> str:
        """The kind of error as a stable word for programs: `not_found` for NotFoundError."""
        public = next(kind for kind in type(self).__mro__ if not kind.__name__.startswith("_"))
        return re.sub(r"(?<!^)(?=[A-Z])", "_", public.__name__.removesuffix("Error")).lower()


class SftpError(StorageError):
    """An operation on an SFTP server failed.

    Args:
        operation: What was being done, as a verb phrase ("upload /a/b").
        endpoint: user@host:port, never with a password.
        seen: What happened.
        remedy: What the reader can do about it.
    """

    def __init__(self, operation: str, endpoint: str = "", seen: str = "", remedy: str = "") -> None:
        super().__init__(seen, remedy)
        self.operation = operation
        self.endpoint = endpoint
        # What pickle rebuilds the error from.
        self.args = (operation, endpoint, seen, self.remedy)

    def __str__(self) -> str:
        text = f"Cannot {self.operation} on {self.endpoint}: {self.seen.rstrip('.')}."
        return f"{text} {self.remedy}" if self.remedy else text


class InvalidUriError(SftpError):
    """The sftp:// URI cannot be used."""

    error_code = "INVALID_PARAMETER_VALUE"
    default_remedy = "Write it as sftp://user@host:port/path."

    def __str__(self) -> str:
        return f"{self.seen.rstrip('.')}. {self.remedy}".strip()


class InvalidSettingError(SftpError):
    """A MLFLOW_SFTP_* variable or the OpenSSH client configuration cannot be used."""

    error_code = "INVALID_PARAMETER_VALUE"

    def __str__(self) -> str:
        return f"{self.operation}: {self.seen.rstrip('.')}. {self.remedy}".strip()


class InvalidPathError(SftpError):
    """An artifact path that would leave the artifact root, or that SFTP cannot carry."""

    error_code = "INVALID_PARAMETER_VALUE"


class UnreachableError(SftpError):
    """No SSH connection: refused, reset, timed out, or the name does not resolve."""

    error_code = "TEMPORARILY_UNAVAILABLE"
    default_remedy = "Check that the server runs and that host and port are right and reachable from here."


class UnresolvableError(SftpError):
    """A host name that DNS says does not exist: trying again will not help."""

    error_code = UnreachableError.error_code
    default_remedy = UnreachableError.default_remedy


class ConnectionDroppedError(UnreachableError):
    """The connection ended or stalled during an operation and could not be brought back in time."""


class HostKeyRejectedError(SftpError):
    """The server's host key is not one that known_hosts lists."""

    error_code = "PERMISSION_DENIED"
    default_remedy = (
        "If the server's key was changed on purpose, get its new fingerprint from the administrator and "
        "replace the entry in known_hosts; an entry for a port other than 22 is written [host]:port."
    )


class AuthenticationFailedError(SftpError):
    """The server accepts none of the keys or passwords offered."""

    error_code = "UNAUTHENTICATED"
    default_remedy = (
        "Check the user name, that the private key is the one whose public part the server authorizes, and "
        "that this process can read it (IdentityFile in the SSH configuration, or the agent)."
    )


class SessionRefusedError(SftpError):
    """Logged in, but the server opens no SFTP session."""

    error_code = "INVALID_STATE"
    default_remedy = "Check that the account may use the sftp subsystem (and MaxSessions) on the server."


class NotFoundError(SftpError):
    """There is no such file or directory on the server."""

    error_code = "RESOURCE_DOES_NOT_EXIST"
    default_remedy = "Check the path; what there is, the directory above it shows."


class PermissionRefusedError(SftpError):
    """The server's file permissions forbid the operation."""

    error_code = "PERMISSION_DENIED"
    default_remedy = "Check owner and mode of the directory on the server."


class NoSpaceError(SftpError):
    """Disk full or over quota on the server."""

    error_code = "RESOURCE_EXHAUSTED"
    default_remedy = "Free space on the server, or raise the quota."


class ServerFailureError(SftpError):
    """The server failed without saying why (SSH_FX_FAILURE and the like)."""

    error_code = "IO_ERROR"
    default_remedy = "The server's log may say more; a full disk is the usual reason when writing."


class IntegrityError(SftpError):
    """The bytes on the other side are not the bytes that were sent."""

    error_code = "DATA_LOSS"


class LocalError(SftpError):
    """A local file cannot be read or written."""

    error_code = "IO_ERROR"


class LocationError(StorageError, ValueError):
    """A location cannot be read, or cannot be spelled under another root."""


class MissingStoreError(StorageError):
    """There is no such file or directory to work on."""


class ManifestError(StorageError):
    """The manifest of a copy is missing, of another copy, or no manifest."""


class MissingPackageError(StorageError):
    """A Python package is not installed that only some commands need."""


class DatabaseError(StorageError):
    """The database cannot be used, or does not hold what the operation expects."""


class BackupUnavailableError(StorageError):
    """No backup of the database can be made from here."""


class BackupError(StorageError):
    """The file to restore is missing, damaged, or no backup of MLflow's database."""


class JournalError(StorageError):
    """The journal is missing, cut short, or belongs to something else."""


class BlockedError(StorageError):
    """Rows cannot take their new value, or their place in another database."""


class LoginError(StorageError):
    """MLflow's own login cannot be set up as described."""


class RoundTripError(StorageError):
    """Artifacts did not come back through MLflow as they were logged.

    Args:
        cause: What failed, as a word: `mlflow_unreachable`, `artifacts_differ`, ... (docs/data-plane.md).
        seen: What happened.
        remedy: What the reader can do about it.
        uri: The artifact location that it is about, if it is about one.
    """

    def __init__(self, cause: str, seen: str, remedy: str = "", uri: str = "") -> None:
        super().__init__(seen, remedy)
        self._cause = cause
        self.uri = uri
        # What pickle rebuilds the error from.
        self.args = (cause, seen, remedy, uri)

    def __str__(self) -> str:
        return f"{self.seen}. {self.remedy}" if self.remedy else self.seen

    @property
    def cause(self) -> str:
        return self._cause
