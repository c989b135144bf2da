# SPDX-License-Identifier: GPL-3.0-or-later
"""The option that names the MLflow server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

VARIABLE = "MLFLOW_TRACKING_URI"


def tracking_uri(options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> str:
    """Return the server that the options name, or else the environment; raises StorageError where none does."""
    from mlflow_sftp.errors import StorageError

    uri = options["tracking_uri"] or environment.get(VARIABLE)
    if not uri:
        raise StorageError(f"name the server: tracking_uri is not given, and {VARIABLE} is not set here")
    return str(uri)
