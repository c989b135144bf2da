# SPDX-License-Identifier: GPL-3.0-or-later
"""What a move would do, found out without touching anything: the refusals, and the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import named
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import (
    Schema,
    require_current,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import MoveRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size

# Measured, with the comparison: 770,000 rows in 17.5 s.
_ROWS_A_SECOND = 40_000
# What PostgreSQL takes for what a file of SQLite's holds, with indexes and its log, and an empty cluster.
_GROWTH = 2
_CLUSTER_BYTES = 256 << 20


@dataclass(frozen=True)
class Findings:
    """What was asked before.

    Attributes:
        schema: Of the present database, as the deployed MLflow sees it.
        known: How many runs and so on MLflow knows.
        bytes: Size of the present database.
        copy: What ``copy-database --check`` answers; None where there is no PostgreSQL to ask yet.
        free_bytes: Free where the stack's own PostgreSQL would be; None where nobody can tell, or it goes elsewhere.
        volume: Name of the volume of the stack's PostgreSQL, where one is there already; empty for none.
        restart_seconds: How long closing MLflow and opening it again takes.
    """

    schema: Schema
    known: Mapping[str, int]
    bytes: int
    copy: Mapping[str, Any] | None
    free_bytes: int | None
    volume: str
    restart_seconds: float


def require_schema(schema: Schema) -> None:
    """Refuse a database that is not of the deployed MLflow.

    Raises:
        RefusedError: It is older, newer, unknown, ambiguous, damaged or empty.
    """
    require_current(schema, schema.heads)
    if schema.state == "empty":
        raise RefusedError("The deployed database is empty. Nothing was changed", "Run site.yml")


def require_movable(record: MoveRecord, found: Findings) -> None:
    """Refuse a move that could not succeed.

    Raises:
        RefusedError: It could not.
    """
    require_schema(found.schema)
    _require_no_volume(found.volume)
    _require_space(found)
    if found.copy is not None:
        _require_no_problems(record, found.copy)


def describe(record: MoveRecord, found: Findings) -> list[str]:
    """Return the plan as lines for people."""
    return [
        f"From: {record.source}, {readable_size(found.bytes)}",
        f"To: {record.target}",
        f"MLflow knows {named(found.known)}.",
        f"The database's schema stays {found.schema.revision}.",
        *_rows(found),
        f"{record.source} stays as it is until playbooks/database_prune.yml removes it.",
    ]


def _rows(found: Findings) -> Iterator[str]:
    if found.copy is None:
        yield (
            "PostgreSQL's image is yet to be built: how many rows there are, and whether it can hold all of them, is "
            "known then."
        )
        return
    tables = {name: rows for name, rows in found.copy["tables"].items() if rows}
    yield f"Rows to copy and compare: {found.copy['rows']}, in {len(tables)} tables."
    yield from (f"  {name}: {rows}" for name, rows in sorted(tables.items(), key=lambda each: -each[1]))
    seconds = found.copy["rows"] / _ROWS_A_SECOND
    yield (
        f"Expected downtime: about {2 * found.restart_seconds + seconds:.0f} s (twice a start of the server, "
        f"{found.restart_seconds:.0f} s each; copying {seconds:.0f} s)."
    )


def _require_no_volume(volume: str) -> None:
    if volume:
        raise RefusedError(
            f"The volume {volume} is there already, with a PostgreSQL of the stack's that no move has left. Nothing "
            "was changed",
            f"If nobody needs what it holds, remove it: docker volume rm {volume}",
        )


def _require_space(found: Findings) -> None:
    needed = _GROWTH * found.bytes + _CLUSTER_BYTES
    if found.free_bytes is not None and found.free_bytes < needed:
        raise RefusedError(
            f"The new database may need {readable_size(needed)}, and {readable_size(found.free_bytes)} are free for "
            "Docker's volumes. Nothing was changed",
            "Make room",
        )


def _require_no_problems(record: MoveRecord, copy: Mapping[str, Any]) -> None:
    problems = copy["problems"]
    if problems:
        raise RefusedError(
            f"{record.target} cannot hold all rows, so nothing was changed: "
            + "; ".join(map(_told, problems)),
            "Change or remove what is named, through MLflow or in the database",
        )


def _told(problem: Mapping[str, Any]) -> str:
    keys = "; ".join(" ".join(f"{name}={value}" for name, value in key.items()) for key in problem["keys"])
    column = f"{problem['table']}.{problem['column']} " if problem["table"] else ""
    rows = f" (rows: {problem['rows']}, such as {keys})" if keys else ""
    return f"{column}{problem['reason']}{rows}"
