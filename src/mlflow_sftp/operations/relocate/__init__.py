# SPDX-License-Identifier: Apache-2.0
"""Re-rooting of every artifact location in MLflow's database: plan, apply, state, undo, redo, scan."""

from mlflow_sftp.operations.relocate.mentions import Finding, scan
from mlflow_sftp.operations.relocate.planning import Blocked, Move, Plan, Request
from mlflow_sftp.operations.relocate.transaction import (
    Applied,
    Replayed,
    State,
    apply,
    plan,
    plan_with_places,
    preview,
    redo,
    state,
    undo,
)

__all__ = [
    "Applied",
    "Blocked",
    "Finding",
    "Move",
    "Plan",
    "Replayed",
    "Request",
    "State",
    "apply",
    "plan",
    "plan_with_places",
    "preview",
    "redo",
    "scan",
    "state",
    "undo",
]
