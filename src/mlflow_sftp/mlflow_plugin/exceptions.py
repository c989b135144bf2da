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


def as_mlflow(error: errors.SftpError) -> MlflowSftpError:
    """Return the MLflow form of an error."""
    kind = next(base for base in type(error).__mro__ if base in _TYPES)
    return _TYPES[kind](error)


_TYPES: dict[type, type[MlflowSftpError]] = {errors.SftpError: MlflowSftpError} | {
    kind: type(f"Mlflow{kind.__name__}", (MlflowSftpError, kind), {"__doc__": kind.__doc__})
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.SftpError) and kind is not errors.SftpError
}
globals().update({created.__name__: created for created in _TYPES.values()})
