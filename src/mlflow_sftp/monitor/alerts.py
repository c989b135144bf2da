# SPDX-License-Identifier: Apache-2.0
"""Decisions: what is wrong, and what of that somebody has to be told. Once for each change of state."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlflow_sftp.monitor.outcome import TIMEOUT, Outcome
from mlflow_sftp.monitor.status import Status, age

# Seconds after which a cutover that has not ended is one that was interrupted. Until then, MLflow may be closed.
CUTOVER_SECONDS = 3600.0
_HOUR, _DAY = 3600.0, 86400.0
# What checks begin with that only ask for space: where nobody tells it is not known, and what is wrong, others find,
# but for a disk that does not answer.
SPACE = "space_"


@dataclass(frozen=True)
class Limits:
    """From when on something is worth an alert.

    Attributes:
        patience: Seconds for which a check may fail.
        backup_hours: Age of the last good backup; 0 for any.
        expiry_days: Days until a certificate ends; 0 for any.
    """

    patience: float = 60.0
    backup_hours: float = 0.0
    expiry_days: float = 14.0


@dataclass(frozen=True)
class Finding:
    """The state of one thing that is watched; one that is not known is none.

    Attributes:
        subject: What it is: a check, `backup`, `cutover` or `certificate NAME`.
        cause: Codes of what is wrong; empty where all is well.
        seen: What was seen.
        remedy: What to do.
    """

    subject: str
    cause: str = ""
    seen: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Change:
    """A state that is not what was told before; `since` is when it was seen first, in seconds since 1970."""

    subject: str
    status: str
    cause: str
    before: str
    seen: str
    remedy: str
    since: float

    def __str__(self) -> str:
        if self.status == "recovered":
            return f"{self.subject} is well again (was {self.before})"
        return f"{self.subject}: {self.cause}. {self.seen}. {self.remedy}".rstrip(". ") + "."

    def as_dict(self) -> dict[str, Any]:
        """Return the change as a webhook gets it."""
        return {**asdict(self), "since": stamp(self.since)}


def findings(
    outcomes: Mapping[str, Outcome],
    failing_since: Mapping[str, float],
    status: Status,
    limits: Limits,
    now: float,
    watched_since: float | None = None,
) -> list[Finding]:
    """Return the states that are known.

    Args:
        outcomes: The last of each check.
        failing_since: When those that fail failed first, in seconds since 1970.
        status: What the Docker host tells.
        limits: From when on something is worth an alert.
        now: Seconds since 1970.
        watched_since: When the stack was watched first, in seconds since 1970; None where nobody knows.
    """
    unfinished = status.unfinished_for(now)
    # What is closed on purpose does not answer; that it was closed too long is told instead.
    is_closed = unfinished is not None and unfinished < CUTOVER_SECONDS
    opened = status.cutover_changed if unfinished is None else None
    found: list[Finding] = []
    for name, outcome in outcomes.items():
        if name.startswith(SPACE) and outcome.cause != TIMEOUT:
            continue
        if not outcome.cause:
            found.append(Finding(name))
        elif not is_closed and _lasts(outcome, failing_since.get(name, now), opened, limits.patience, now):
            first = outcome.failed[0]
            found.append(Finding(name, outcome.cause, f"{first.name}: {first.seen}", first.remedy))
    return [
        *found,
        *_backup(status, limits, now, watched_since),
        *_cutover(status, now),
        *_certificates(status, limits, now),
    ]


def _lasts(outcome: Outcome, since: float, opened: float | None, patience: float, now: float) -> bool:
    """Whether a failure has lasted; one of the time before MLflow was opened again says nothing of now."""
    if opened is None:
        return now - since >= patience
    return outcome.finished > opened and now - max(since, opened) >= patience


def _backup(status: Status, limits: Limits, now: float, watched_since: float | None) -> Iterator[Finding]:
    old, watched = age(status.backup_at, now), age(watched_since, now)
    if status.backup_error:
        yield Finding("backup", "backup_failed", status.backup_error, "Run playbooks/backup.yml.")
    elif old is not None:
        is_old = bool(limits.backup_hours) and old > limits.backup_hours * _HOUR
        seen = f"the last good backup is {old / _HOUR:.0f} hours old"
        remedy = "See why the timer makes none, or run playbooks/backup.yml."
        yield Finding("backup", "backup_old", seen, remedy) if is_old else Finding("backup")
    elif limits.backup_hours and watched is not None and watched > limits.backup_hours * _HOUR:
        seen = f"no backup was made in the {watched / _HOUR:.0f} hours for which the stack is watched"
        yield Finding(
            "backup", "backup_missing", seen, "Set mlflow_backup_schedule, or run playbooks/backup.yml."
        )


def _cutover(status: Status, now: float) -> Iterator[Finding]:
    unfinished = status.unfinished_for(now)
    if unfinished is None:
        if status.cutover:
            yield Finding("cutover")
    elif unfinished >= CUTOVER_SECONDS:
        seen = f"the {status.cutover} has been {status.cutover_state} for {unfinished / _HOUR:.1f} hours"
        yield Finding("cutover", "cutover_unfinished", seen, "Finish or undo it with its playbook.")


def _certificates(status: Status, limits: Limits, now: float) -> Iterator[Finding]:
    for name, end in status.expiries.items():
        days = (end - now) / _DAY
        if days <= 0:
            yield Finding(
                f"certificate {name}", "certificate_expired", f"it ended at {stamp(end)}", "Renew it."
            )
        elif limits.expiry_days and days < limits.expiry_days:
            seen = f"it ends in {days:.0f} days, at {stamp(end)}"
            yield Finding(f"certificate {name}", "certificate_expires", seen, "Renew it.")
        else:
            yield Finding(f"certificate {name}")


def changes(found: Iterable[Finding], told: Mapping[str, str], now: float) -> list[Change]:
    """Return what is otherwise than told.

    Args:
        found: The states that are known.
        told: The causes that were told last, by subject; what is well, or was never told, is not there.
        now: Seconds since 1970.
    """
    return [
        Change(
            finding.subject,
            "failed" if finding.cause else "recovered",
            finding.cause,
            told.get(finding.subject, ""),
            finding.seen,
            finding.remedy,
            now,
        )
        for finding in found
        if finding.cause != told.get(finding.subject, "")
    ]


def after_telling(told: Mapping[str, str], done: Iterable[Change]) -> dict[str, str]:
    """Return what was told, once these changes have been."""
    both = {**told, **{change.subject: change.cause for change in done}}
    return {subject: cause for subject, cause in both.items() if cause}


def stamp(moment: float) -> str:
    """Return seconds since 1970 as people and programs read them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
