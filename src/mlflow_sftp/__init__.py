# SPDX-License-Identifier: Apache-2.0
"""MLflow artifact store for ``sftp://`` locations.

What stands in `__all__` is the package's public face (docs/data-plane.md); every module below it is private and
may change in any version. `SftpStorage` and `Entry` are imported when they are asked for: MLflow loads its plugins
while it starts, and `mlflow-sftp --help` runs, without an SSH library.
"""

from typing import TYPE_CHECKING

from mlflow_sftp.errors import (
    AuthenticationFailedError,
    BackupError,
    BackupUnavailableError,
    BlockedError,
    ConnectionDroppedError,
    DatabaseError,
    HostKeyRejectedError,
    IntegrityError,
    InvalidPathError,
    InvalidSettingError,
    InvalidUriError,
    JournalError,
    LocalError,
    LocationError,
    LoginError,
    ManifestError,
    MissingPackageError,
    MissingStoreError,
    NoSpaceError,
    NotFoundError,
    PermissionRefusedError,
    RoundTripError,
    ServerFailureError,
    SessionRefusedError,
    SftpError,
    StorageError,
    UnreachableError,
    UnresolvableError,
)
from mlflow_sftp.settings import Settings

if TYPE_CHECKING:
    from mlflow_sftp.storage import SftpStorage
    from mlflow_sftp.transfer.listing import Entry

    __version__: str

__all__ = [
    "AuthenticationFailedError",
    "BackupError",
    "BackupUnavailableError",
    "BlockedError",
    "ConnectionDroppedError",
    "DatabaseError",
    "Entry",
    "HostKeyRejectedError",
    "IntegrityError",
    "InvalidPathError",
    "InvalidSettingError",
    "InvalidUriError",
    "JournalError",
    "LocalError",
    "LocationError",
    "LoginError",
    "ManifestError",
    "MissingPackageError",
    "MissingStoreError",
    "NoSpaceError",
    "NotFoundError",
    "PermissionRefusedError",
    "RoundTripError",
    "ServerFailureError",
    "SessionRefusedError",
    "Settings",
    "SftpError",
    "SftpStorage",
    "StorageError",
    "UnreachableError",
    "UnresolvableError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in ("Entry", "SftpStorage"):
        from mlflow_sftp import storage

        return getattr(storage, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("mlflow-sftp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
