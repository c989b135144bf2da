# SPDX-License-Identifier: Apache-2.0
"""Re-rooting of every artifact location in MLflow's database: plan, apply, state, undo, redo, scan."""

from mlflow_sftp.database.database import Database
from mlflow_sftp.errors import (
    BackupUnavailableError,
    BlockedError,
    DatabaseError,
    JournalError,
    LocationError,
    StorageError,
)
from mlflow_sftp.location import Location
from mlflow_sftp.operations.relocate.apply import (
    Applied,
    Replayed,
    State,
    apply,
    plan,
    preview,
    redo,
    state,
    undo,
)
from mlflow_sftp.operations.relocate.plan import Blocked, Move, Plan, Request
from mlflow_sftp.operations.relocate.scan import Finding, scan

__all__ = [
    "Applied",
    "BackupUnavailableError",
    "Blocked",
    "BlockedError",
    "Database",
    "DatabaseError",
    "Finding",
    "JournalError",
    "Location",
    "LocationError",
    "Move",
    "Plan",
    "Replayed",
    "Request",
    "State",
    "StorageError",
    "apply",
    "plan",
    "preview",
    "redo",
    "scan",
    "state",
    "undo",
]
