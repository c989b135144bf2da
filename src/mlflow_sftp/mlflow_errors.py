# SPDX-License-Identifier: Apache-2.0
"""The package's errors as MlflowException subclasses, with MLflow's error codes.

`Mlflow<Name>` is both an MlflowException and mlflow_sftp.errors.<Name>, so code can catch either.
"""

from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from mlflow_sftp import errors


class MlflowSftpError(MlflowException):
    """Base of every error the sftp:// artifact store raises."""


def as_mlflow(error: errors.SftpError) -> MlflowSftpError:
    """Return the MLflow form of an error."""
    translated: MlflowSftpError = _TYPES[_public_type(type(error))](error)
    return translated


def _public_type(kind: type[errors.SftpError]) -> type[errors.SftpError]:
    return next(base for base in kind.__mro__ if base in _TYPES)


def _derive(kind: type[errors.SftpError]) -> Any:
    def init(self: Any, error: errors.SftpError) -> None:
        MlflowException.__init__(self, str(error), error_code=ErrorCode.Value(error.error_code))
        self.operation, self.endpoint = error.operation, error.endpoint
        self.seen, self.remedy = error.seen, error.remedy

    def reduce(self: Any) -> tuple[Any, ...]:
        return _restore, (kind, self.operation, self.endpoint, self.seen, self.remedy)

    body = {
        "__init__": init,
        "__str__": lambda self: self.message,
        "__reduce__": reduce,
        "__doc__": kind.__doc__,
    }
    return type(f"Mlflow{kind.__name__}", (MlflowSftpError, kind), body)


def _restore(kind: type[errors.SftpError], *arguments: str) -> MlflowSftpError:
    return as_mlflow(kind(*arguments))


_TYPES: dict[type[errors.SftpError], Any] = {
    kind: _derive(kind)
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.SftpError)
}
globals().update({created.__name__: created for created in _TYPES.values()})
