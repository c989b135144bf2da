# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules share that carry out cutovers after which MLflow goes on with another database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import (
    DatabaseEngine,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.operations import (
    DatabaseDeeds,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.record import DatabaseKind
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError


def carry_out(
    engine: DatabaseEngine[DatabaseKind],
    deeds: DatabaseDeeds[DatabaseKind],
    state: str,
    describe: Callable[[DatabaseKind], list[str]],
) -> dict[str, Any]:
    """Finish a cutover, or go back (`state` is ``undone``); return the module's results.

    Raises:
        CutoverError: What went wrong, and what became of it.
    """
    record, notes = (_undone if state == "undone" else _done)(engine, deeds)
    lines = describe(record) if record.state == "done" else [_told_of(record), record.left_behind]
    return {"changed": True, "record": record.as_dict(), "lines": list(filter(None, [*lines, *notes]))}


def _done(
    engine: DatabaseEngine[DatabaseKind], deeds: DatabaseDeeds[DatabaseKind]
) -> tuple[DatabaseKind, list[str]]:
    if not engine.record.interrupted:
        # Again right before MLflow is closed; here, before anything is started.
        deeds.drain(engine.record)
    record = engine.finish()
    return record, [*deeds.notes, *deeds.purge(record)]


def _undone(
    engine: DatabaseEngine[DatabaseKind], deeds: DatabaseDeeds[DatabaseKind]
) -> tuple[DatabaseKind, list[str]]:
    try:
        if engine.record.state == "done":
            deeds.require_way_back(engine.record)
            deeds.drain(engine.record)
        engine.require_nothing_lost()
    except CutoverError:
        # The questions may have started a container.
        deeds.tidy(engine.record)
        raise
    return engine.undo(), []


def _told_of(record: DatabaseKind) -> str:
    return f"The {record.title} was undone: MLflow answers."
