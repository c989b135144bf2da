# SPDX-License-Identifier: Apache-2.0
"""Opening a store by its location."""

import os

from mlflow_sftp.errors import LocationError
from mlflow_sftp.location import Location
from mlflow_sftp.settings import Settings
from mlflow_sftp.stores.local import LocalStore
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.stores.sftp import SftpStore
from mlflow_sftp.uri import redact

Store = LocalStore | SftpStore


def open_store(location: str, limiter: RateLimiter, settings: Settings) -> Store:
    """A store from a plain path, a `file:` URI or an `sftp:` URI; LocationError for anything else."""
    parsed = Location.parse(location)
    if parsed.kind == "local":
        return LocalStore(os.path.abspath(parsed.path))
    if parsed.kind == "sftp":
        return SftpStore(location, limiter, settings)
    raise LocationError(redact(location), "name the server's own artifact root, a path or sftp:// URI")
