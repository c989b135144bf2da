# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore would do, found out without touching anything: the refusals, and the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import Schema
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.decisions import (
    CONSENT,
    given_up,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.lost import Lost
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.times import readable_age

# Measured: PostgreSQL takes the dump of 10,000 runs back in 10 s, and they are migrated in 7 s.
_RUNS_A_SECOND = 1_000
_MIGRATED_A_SECOND = 1_400
# The backup from before, and on the way back that of what is given up.
_COPIES = 2
_NAMED = 3


@dataclass(frozen=True)
class Findings:
    """What was asked before.

    Attributes:
        schema: Of the snapshot, as the deployed MLflow sees it.
        database: The deployed one, ``sqlite`` or ``postgresql``.
        known: How many runs and so on MLflow knows now.
        bytes: Size of the present database.
        fetched_bytes: Size of the snapshot's database.
        lacking: Artifacts of the snapshot that the store lacks, with their sizes in bytes.
        store_free_bytes: Free in the store; None where nobody can tell.
        lost: Models and tables that MLflow knows now, whose files neither the store nor the snapshot has; None where
            nobody asked.
        free_bytes: Free for the stack's directory.
        volume_free_bytes: Free where the database's volume is; None where that is the same disk, or nobody can tell.
        now: Seconds since the epoch.
        restart_seconds: How long closing MLflow and opening it again takes.
    """

    schema: Schema
    database: str
    known: Mapping[str, int]
    bytes: int
    fetched_bytes: int
    lacking: Mapping[str, int]
    store_free_bytes: int | None
    lost: Lost | None
    free_bytes: int
    now: float
    restart_seconds: float
    volume_free_bytes: int | None = None


def require_restorable(record: RestoreRecord, found: Findings, *, check: bool) -> None:
    """Refuse a restore that could not succeed, or gives up what may not be; with all that is in its way.

    Args:
        record: Of the restore.
        found: What was asked.
        check: Whether nothing is to be changed, for which nobody has to consent.

    Raises:
        RefusedError: It is refused.
    """
    problems = [
        *_of_database(record, found),
        *_of_schema(record, found.schema),
        *_of_store(record),
        *_of_space(record, found),
        *([] if check else _of_consent(record, found)),
    ]
    if problems:
        raise RefusedError(f"{' '.join(problems)} Nothing was changed")


def describe(record: RestoreRecord, found: Findings) -> list[str]:
    """Return the plan as lines for people."""
    snapshot = record.snapshot
    age = readable_age(found.now - snapshot.time)
    return [
        f"The {snapshot}, {age} old: MLflow {snapshot.mlflow}, {_runs(record)} runs, a database of "
        f"{readable_size(found.fetched_bytes)}.",
        f"MLflow knows {', '.join(f'{count} {name}' for name, count in found.known.items())}.",
        *_given_up(record, found),
        _schema(found.schema),
        _artifacts(record, found),
        *_lost(record, found),
        "Configuration, keys and notebooks stay as they are: the inventory and site.yml say what they are, and the "
        "snapshot's are not installed.",
        _downtime(record, found),
    ]


def _of_database(record: RestoreRecord, found: Findings) -> Iterator[str]:
    if record.snapshot.database != found.database:
        yield (
            f"The database of the {record.snapshot} is {record.snapshot.database}, and the stack's is "
            f"{found.database}. Name another snapshot, or deploy the stack with such a database first."
        )


def _of_schema(record: RestoreRecord, schema: Schema) -> Iterator[str]:
    if schema.state not in ("current", "behind"):
        yield (
            f"The {record.snapshot} has the schema {schema.revision or 'of no revision'} of MLflow "
            f"{record.snapshot.mlflow}, which the deployed MLflow {schema.mlflow} does not know. Name another "
            "snapshot, or deploy a version of the collection with that MLflow or a later one first."
        )


def _of_store(record: RestoreRecord) -> Iterator[str]:
    before, now = record.snapshot.store, record.store
    if before != now:
        yield (
            f"The artifacts of the {record.snapshot} were at {before}, to which its rows lead, and the stack's are at "
            f"{now}. Name another snapshot, or switch back first (playbooks/storage_switch.yml)."
        )


def _of_space(record: RestoreRecord, found: Findings) -> Iterator[str]:
    # What is fetched lies beside the store until it is copied.
    needed = found.fetched_bytes + _COPIES * found.bytes + 2 * sum(found.lacking.values())
    if found.free_bytes < needed:
        yield (
            f"The restore may need {readable_size(needed)}, and {readable_size(found.free_bytes)} are free for the "
            "stack's directory. Make room."
        )
    # Until it is committed, PostgreSQL has both contents; of SQLite, the next file is written beside the other.
    content, free = max(found.bytes, found.fetched_bytes), found.volume_free_bytes
    if free is not None and free < content:
        yield (
            f"The restored database may need {readable_size(content)}, and {readable_size(free)} are free for its "
            "volume, in Docker's directory. Make room."
        )
    coming = sum(found.lacking.values())
    if found.store_free_bytes is not None and found.store_free_bytes < coming:
        yield (
            f"The artifacts that come back are {readable_size(coming)}, and "
            f"{readable_size(found.store_free_bytes)} are free in the store {record.store.uri}. Make room there."
        )


def _of_consent(record: RestoreRecord, found: Findings) -> Iterator[str]:
    told = given_up(record.snapshot, found.known)
    if told and not record.consent:
        yield f"{told}, which the {record.title} gives up. {CONSENT}."


def _given_up(record: RestoreRecord, found: Findings) -> Iterator[str]:
    told = given_up(record.snapshot, found.known)
    if not told:
        yield "Given up: nothing that is counted (a changed tag or alias is not)."
        return
    yield f"Given up: {told}."
    yield (
        "That may be given up (discard=true): the present database is kept beside the record."
        if record.consent
        else "A real run is refused without -e discard=true, which gives that up; the present database is kept "
        "beside the record."
    )


def _schema(schema: Schema) -> str:
    if schema.state == "behind":
        return f"The snapshot's schema {schema.revision} becomes {', '.join(schema.heads)}, in {schema.steps} steps."
    return f"The snapshot's schema is the deployed MLflow's, {schema.revision}."


def _artifacts(record: RestoreRecord, found: Findings) -> str:
    lacking = found.lacking
    if not record.snapshot.has_artifacts:
        return (
            f"The snapshot holds no artifacts: they are at {record.store.uri}, and what was deleted there since stays "
            "away."
        )
    if not lacking:
        return f"The store {record.store.uri} has every artifact of the snapshot."
    return (
        f"Artifacts of the snapshot that the store {record.store.uri} lacks: {len(lacking)}, "
        f"{readable_size(sum(lacking.values()))}, such as {'; '.join(sorted(lacking)[:_NAMED])}. They are brought "
        "back; nothing there is overwritten or deleted."
        + (" Nobody can tell what is free there." if found.store_free_bytes is None else "")
    )


def _lost(record: RestoreRecord, found: Findings) -> Iterator[str]:
    if found.lost is not None:
        told = found.lost.told("that MLflow knows now", has_artifacts=record.snapshot.has_artifacts)
        yield f"{told} Those that the snapshot alone knows are compared after the restore."


def _downtime(record: RestoreRecord, found: Findings) -> str:
    runs = record.snapshot.runs[1]
    restoring = runs / _RUNS_A_SECOND + (runs / _MIGRATED_A_SECOND if found.schema.state == "behind" else 0)
    # The server is started twice: once to be tried, once to be opened.
    return (
        f"Expected downtime: about {2 * found.restart_seconds + restoring:.0f} s (twice a start of the server, "
        f"{found.restart_seconds:.0f} s each; the database {restoring:.0f} s)."
    )


def _runs(record: RestoreRecord) -> str:
    before, after = record.snapshot.runs
    return str(after) if before == after else f"{before} to {after}"
