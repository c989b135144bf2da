# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch would do, found out without touching anything: the refusals, the text, the record that comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.capacity import (
    HOST_RESERVE,
    Amount,
    Place,
    fits,
    reserve,
    with_quota,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import needed_accounts

NAMED = 3
_ROWS_A_SECOND = 10_000
_TABLES = {"logged_models": "logged models", "model_versions": "model versions", "trace_info": "traces"}


@dataclass(frozen=True)
class Findings:
    """What was asked before, each as the package's program answers with ``--json``.

    Attributes:
        database: Of ``info``: counts and places.
        source: Of ``info``: the present store.
        target: Of ``info``: the new store; None where it is the present one, or could not be asked yet.
        rows: Of ``relocate plan``; None where no row changes.
        files: Of ``copy --check``; None where no file is copied, or the new store could not be asked.
        restart_seconds: How long closing MLflow and opening it again takes.
        host: The stack's directory, where the database is backed up.
        refuse: What has to stay free at the new store, unless the switch undoes another one.
        quota_bytes: Of the SFTP account; 0 for none.
    """

    database: Mapping[str, Any]
    source: Mapping[str, Any]
    target: Mapping[str, Any] | None
    rows: Mapping[str, Any] | None
    files: Mapping[str, Any] | None
    restart_seconds: float
    host: Place = field(default_factory=lambda: Place("the stack's directory"))
    refuse: Amount = field(default_factory=Amount)
    quota_bytes: int = 0


def narrowed(record: SwitchRecord, rows: Mapping[str, Any] | None) -> SwitchRecord:
    """Return the record with the directories that move, and those that have moved already.

    Raises:
        RefusedError: Nothing moves that was asked for, or something cannot.
    """
    if rows is None:
        return record
    if record.experiments and not rows["directories"]:
        named = ", ".join(map(str, record.experiments))
        raise RefusedError(
            f"No location below {record.source.root} belongs to the experiments {named}. Nothing was changed"
        )
    # What an earlier switch left of runs that are at the new store already must not be copied over them.
    return record.updated(
        already_moved=tuple(rows["already_moved"]),
        directories=tuple(rows["directories"]) if record.experiments else (),
    )


def planned(record: SwitchRecord, found: Findings) -> SwitchRecord:
    """Return the record of the switch that was planned, `narrowed` before.

    Raises:
        RefusedError: It could not succeed.
    """
    if found.rows is not None:
        _require_movable(found.rows)
    if found.files is not None:
        _require_readable(record, found.files)
        _require_space(record, found)
    if not record.undoes:
        _require_room_for_backup(found)
    present = [place["place"] for place in found.database["places"]]
    places = present if found.rows is None else found.rows["places_after"]
    return record.updated(accounts=tuple(needed_accounts(places, record.target)))


def describe(record: SwitchRecord, found: Findings) -> list[str]:
    """Return the plan as lines for people."""
    return [
        f"From: {record.source}",
        f"To: {record.target}",
        *(["New runs go there already; this moves the rest."] if record.rest else []),
        _database(found.database["counts"]),
        f"The present store holds {found.source['files']} files, {readable_size(found.source['bytes'])}.",
        *_copying(record, found),
        _space(record, found),
        *_locations(found.rows),
        _downtime(found),
    ]


def _require_movable(rows: Mapping[str, Any]) -> None:
    unmovable = [row for row in rows.get("blocked", ()) if not row["ambiguous"]]
    if unmovable:
        raise RefusedError(
            f"{len(unmovable)} locations cannot move, so nothing was changed. First: "
            + ". ".join(_blocked(row) for row in unmovable[:NAMED]),
            "Change them or their rows, or move a part with -e experiments=[...]",
        )


def _require_readable(record: SwitchRecord, files: Mapping[str, Any]) -> None:
    if files["unreadable_names"]:
        raise RefusedError(
            f"MLflow's local store takes names for URLs and could not read {files['unreadable_names']} files "
            f"back, so nothing was changed. First: {' '.join(sorted(files['failed'])[:NAMED])}",
            f"Rename or remove them at {record.source.uri}, or move a part with -e experiments=[...]",
        )


def _require_space(record: SwitchRecord, found: Findings) -> None:
    place, files = _target(record, found), found.files or {}
    needed = files["copied"]["bytes"]
    refuse = _refuse(record, found)
    if not fits(place, needed, refuse):
        raise RefusedError(
            f"{record.target.uri} has {readable_size(place.free or 0)} free{' by its quota' if place.quota else ''}"
            f"{reserve(place, refuse)}, and {readable_size(needed)} are to be copied. Nothing was changed",
            "Make room, or move a part with -e experiments=[...]",
        )


def _require_room_for_backup(found: Findings) -> None:
    needed = found.database.get("bytes") or 0
    if not fits(found.host, needed, HOST_RESERVE):
        raise RefusedError(
            f"{found.host}{reserve(found.host, HOST_RESERVE)}, and the backup of the database needs "
            f"{readable_size(needed)}. Nothing was changed",
            "Make room",
        )


def _refuse(record: SwitchRecord, found: Findings) -> Amount:
    """Return what has to stay free at the new store: the way back needs no more than it needs."""
    return Amount() if record.undoes else found.refuse


def _target(record: SwitchRecord, found: Findings) -> Place:
    """Return the new store's space, as its server tells it or a quota says."""
    told = found.target or {}
    quota = found.quota_bytes if record.target.storage == "sftp" else 0
    used = None if told.get("unreadable") else told.get("bytes")
    place = Place(record.target.uri, told.get("free_bytes"), told.get("total_bytes"), used)
    return with_quota(place, quota)


def _database(counts: Mapping[str, Mapping[str, int]]) -> str:
    runs = counts["runs"]
    further = [f", {counts[name]['total']} {word}" for name, word in _TABLES.items() if name in counts]
    return (
        f"MLflow knows {counts['experiments']['total']} experiments, {runs['total']} runs "
        f"({runs.get('deleted', 0)} deleted){''.join(further)}."
    )


def _copying(record: SwitchRecord, found: Findings) -> Iterator[str]:
    if found.files is not None:
        copied = found.files["copied"]
        yield (
            f"To copy: {copied['files']} files, {readable_size(copied['bytes'])}; to compare: "
            f"{found.files['equal']['files']} files that are there already."
        )
        for path, reason in found.files["failed"].items():
            yield f"Cannot be copied: {path}: {reason}"
    elif record.moves_files and record.migrate == "none":
        yield "To copy: nothing (migrate=none). Old runs stay where they are and are read from there."


def _space(record: SwitchRecord, found: Findings) -> str:
    if not record.moves_files:
        return "The store stays the same; only how it is reached changes."
    if found.target is None:
        return (
            "Free space at the new store is not known: it cannot be asked before the account is provisioned."
        )
    place = _target(record, found)
    if place.free is None:
        return "The new store does not tell how much space is free."
    by = " by its quota" if place.quota else ""
    return f"Free space at the new store: {readable_size(place.free)}{by}{reserve(place, _refuse(record, found))}."


def _locations(rows: Mapping[str, Any] | None) -> Iterator[str]:
    if rows is None:
        yield "Locations to change: none; they lead to the proxy before and after."
        return
    yield f"Locations to change: {rows['rows_to_move']}."
    for name, counted in sorted(rows["tables"].items()):
        if counted:
            yield f"  {name}: " + ", ".join(f"{count} {what}" for what, count in sorted(counted.items()))
    for row in rows["blocked"]:
        yield f"Cannot move: {_blocked(row)}"
    for name, count in sorted(rows["report_only"].items()):
        yield f"Mentioned, and left as it is: {count} times in {name}"


def _blocked(row: Mapping[str, Any]) -> str:
    key = ", ".join(f"{name} {value}" for name, value in row["key"].items())
    return f"{row['table']}.{row['column']} ({key}) = {row['value']}: {row['reason']}"


def _downtime(found: Findings) -> str:
    listing = found.files["seconds"] if found.files is not None else 0.0
    rows = found.rows["rows_to_move"] / _ROWS_A_SECOND if found.rows is not None else 0.0
    look = f", another look at both stores {listing:.1f} s" if listing else ""
    return (
        f"Expected downtime: about {found.restart_seconds + listing + rows:.0f} s (restart "
        f"{found.restart_seconds:.0f} s{look})."
    )
