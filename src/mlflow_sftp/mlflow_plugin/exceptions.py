# SPDX-License-Identifier: Apache-2.0
"""The package's errors as MlflowException subclasses, with MLflow's error codes.

`Mlflow<Name>` is both an MlflowException and mlflow_sftp.errors.<Name>, so code can catch either.
"""

from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from mlflow_sftp import errors


class MlflowSftpError(MlflowException, errors.SftpError):
    """Base of every error the sftp:// artifact store raises."""

    def __init__(self, error: errors.SftpError) -> None:
        MlflowException.__init__(self, str(error), error_code=ErrorCode.Value(error.error_code))
        self._original = error
        self.operation, self.endpoint = error.operation, error.endpoint
        self.seen, self.remedy = error.seen, error.remedy

    def __str__(self) -> str:
        return str(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return as_mlflow, (self._original,)


class MlflowInvalidUriError(MlflowSftpError, errors.InvalidUriError):
    """The sftp:// URI cannot be used."""


class MlflowInvalidSettingError(MlflowSftpError, errors.InvalidSettingError):
    """A MLFLOW_SFTP_* variable or the OpenSSH client configuration cannot be used."""


class MlflowInvalidPathError(MlflowSftpError, errors.InvalidPathError):
    """An artifact path that would leave the artifact root, or that SFTP cannot carry."""


class MlflowUnreachableError(MlflowSftpError, errors.UnreachableError):
    """No SSH connection: refused, reset, timed out, or the name does not resolve."""


class MlflowUnresolvableError(MlflowSftpError, errors.UnresolvableError):
    """A host name that DNS says does not exist: trying again will not help."""


class MlflowConnectionDroppedError(MlflowUnreachableError, errors.ConnectionDroppedError):
    """The connection ended or stalled during an operation and could not be brought back in time."""


class MlflowHostKeyRejectedError(MlflowSftpError, errors.HostKeyRejectedError):
    """The server's host key is not one that known_hosts lists."""


class MlflowAuthenticationFailedError(MlflowSftpError, errors.AuthenticationFailedError):
    """The server accepts none of the keys or passwords offered."""


class MlflowSessionRefusedError(MlflowSftpError, errors.SessionRefusedError):
    """Logged in, but the server opens no SFTP session."""


class MlflowNotFoundError(MlflowSftpError, errors.NotFoundError):
    """There is no such file or directory on the server."""


class MlflowPermissionRefusedError(MlflowSftpError, errors.PermissionRefusedError):
    """The server's file permissions forbid the operation."""


class MlflowNoSpaceError(MlflowSftpError, errors.NoSpaceError):
    """Disk full or over quota on the server."""


class MlflowServerFailureError(MlflowSftpError, errors.ServerFailureError):
    """The server failed without saying why (SSH_FX_FAILURE and the like)."""


class MlflowIntegrityError(MlflowSftpError, errors.IntegrityError):
    """The bytes on the other side are not the bytes that were sent."""


class MlflowLocalError(MlflowSftpError, errors.LocalError):
    """A local file cannot be read or written."""


_TYPES: dict[type[errors.SftpError], type[MlflowSftpError]] = {
    errors.SftpError: MlflowSftpError,
    errors.InvalidUriError: MlflowInvalidUriError,
    errors.InvalidSettingError: MlflowInvalidSettingError,
    errors.InvalidPathError: MlflowInvalidPathError,
    errors.UnreachableError: MlflowUnreachableError,
    errors.UnresolvableError: MlflowUnresolvableError,
    errors.ConnectionDroppedError: MlflowConnectionDroppedError,
    errors.HostKeyRejectedError: MlflowHostKeyRejectedError,
    errors.AuthenticationFailedError: MlflowAuthenticationFailedError,
    errors.SessionRefusedError: MlflowSessionRefusedError,
    errors.NotFoundError: MlflowNotFoundError,
    errors.PermissionRefusedError: MlflowPermissionRefusedError,
    errors.NoSpaceError: MlflowNoSpaceError,
    errors.ServerFailureError: MlflowServerFailureError,
    errors.IntegrityError: MlflowIntegrityError,
    errors.LocalError: MlflowLocalError,
}


def as_mlflow(error: errors.SftpError) -> MlflowSftpError:
    """Return the MLflow form of an error."""
    kind = next(base for base in type(error).__mro__ if base in _TYPES)
    return _TYPES[kind](error)
