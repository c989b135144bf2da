# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that name MLflow's database; documented in doc_fragments/mlflow_database.py."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_sftp.database.database import Database

VARIABLE = "MLFLOW_BACKEND_STORE_URI"

DATABASE_OPTIONS: dict[str, dict[str, Any]] = {
    "database": {"type": "str"},
    "database_password": {"type": "str", "no_log": True},
}


def open_database(options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Database:
    """Open the database that the options name, or else the environment.

    Only what comes from the environment may hold a password: options are shown and logged.

    Raises:
        StorageError: There is none, it cannot be used, or the option holds a password.
    """
    from mlflow_sftp.database.database import Database
    from mlflow_sftp.errors import DatabaseError

    uri = options["database"] or environment.get(VARIABLE)
    if not uri:
        raise DatabaseError(f"name the database: the option is not given, and {VARIABLE} is not set here")
    if options["database"] and Database(uri).url.password:
        raise DatabaseError("give the password as database_password, not within database")
    return Database(uri, options["database_password"])
