# SPDX-License-Identifier: Apache-2.0
"""Decisions: what is wrong, and what of that somebody has to be told. Once for each change of state."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mlflow_sftp.monitor.outcome import TIMEOUT, Outcome
from mlflow_sftp.monitor.space import NOTHING, Amount, Space
from mlflow_sftp.monitor.status import CUTOVER_SECONDS, Status, age

_HOUR, _DAY = 3600.0, 86400.0
# What checks begin with that only ask for space: where nobody tells it is not known, and what is wrong, others find,
# but for a disk that does not answer.
SPACE = "space_"
ACCOUNT_SPACE = f"{SPACE}account"
_BACKUP, _CUTOVER = "backup", "cutover"
_MAKE_ROOM = "Make room, or have it enlarged: playbooks/tidy.yml deletes what nothing needs any more."


@dataclass(frozen=True)
class Limits:
    """From when on something is worth an alert.

    Attributes:
        patience: Seconds for which a check may fail, and for which another state than was told has to last.
        backup_hours: Age of the last good backup; 0 for any.
        expiry_days: Days until a certificate ends; 0 for any.
        space_warn: Free space below which a place is low.
        space_refuse: Free space below which no storage switch to there is begun.
        account_quota: Bytes that the SFTP account may hold; 0 for no quota.
    """

    patience: float = 60.0
    backup_hours: float = 0.0
    expiry_days: float = 14.0
    space_warn: Amount = NOTHING
    space_refuse: Amount = NOTHING
    account_quota: int = 0

    def quota_of(self, check: str) -> int:
        """Return the quota of the place that a check asks about; 0 for none."""
        return self.account_quota if check == ACCOUNT_SPACE else 0


@dataclass(frozen=True)
class Finding:
    """The state of one thing that is watched; one that is not known is none.

    Attributes:
        subject: What it is: a check, `free space of PLACE`, `backup`, `cutover` or `certificate NAME`.
        cause: Codes of what is wrong; empty where all is well.
        seen: What was seen.
        remedy: What to do.
        at: When it was seen, in seconds since 1970.
    """

    subject: str
    cause: str = ""
    seen: str = ""
    remedy: str = ""
    at: float = 0.0


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
    told = (
        *_backup(status, limits, now, watched_since),
        *_cutover(status, now),
        *_certificates(status, limits, now),
    )
    return [
        *_checks(outcomes, failing_since, status, limits, now),
        *(finding for name, outcome in outcomes.items() for finding in _space(name, outcome, limits)),
        *(replace(finding, at=now) for finding in told),
    ]


def subjects(checks: Iterable[str], certificates: Iterable[str]) -> set[str]:
    """Return all that there can be findings of, where these checks are made and these certificates watched."""
    names = set(checks)
    spaces = {_space_of(name) for name in names if name.startswith(SPACE)}
    return names | spaces | {_BACKUP, _CUTOVER} | {_certificate(name) for name in certificates}


def _checks(
    outcomes: Mapping[str, Outcome],
    failing_since: Mapping[str, float],
    status: Status,
    limits: Limits,
    now: float,
) -> Iterator[Finding]:
    # What is closed on purpose does not answer; that it was closed too long is told instead.
    is_closed = status.is_closed(now)
    opened = status.cutover_changed if status.unfinished_for(now) is None else None
    for name, outcome in outcomes.items():
        if not outcome.cause:
            yield Finding(name, at=outcome.finished)
        elif name.startswith(SPACE) and outcome.cause != TIMEOUT:
            continue
        elif not is_closed and _lasts(outcome, failing_since.get(name, now), opened, limits.patience, now):
            first = outcome.failed[0]
            seen = f"{first.name}: {first.seen}"
            yield Finding(name, outcome.cause, seen, first.remedy, outcome.finished)


def _space(name: str, outcome: Outcome, limits: Limits) -> Iterator[Finding]:
    if not name.startswith(SPACE) or outcome.cause:
        return
    space = Space.told(outcome.facts, limits.quota_of(name))
    if name == ACCOUNT_SPACE and space.free == 0 and not space.by_quota:
        # So tells a server that does not know. That nothing can be written, the check of the account finds.
        return
    cause = space.cause(limits.space_warn, limits.space_refuse)
    if cause is not None:
        seen, remedy = (str(space), _MAKE_ROOM) if cause else ("", "")
        yield Finding(_space_of(name), cause, seen, remedy, outcome.finished)


def _space_of(check: str) -> str:
    return f"free space of {check.removeprefix(SPACE)}"


def _certificate(name: str) -> str:
    return f"certificate {name}"


def _lasts(outcome: Outcome, since: float, opened: float | None, patience: float, now: float) -> bool:
    """Whether a failure has lasted; one of the time before MLflow was opened again says nothing of now."""
    if opened is None:
        return now - since >= patience
    return outcome.finished > opened and now - max(since, opened) >= patience


def _backup(status: Status, limits: Limits, now: float, watched_since: float | None) -> Iterator[Finding]:
    old, watched = age(status.backup_at, now), age(watched_since, now)
    if status.backup_error:
        yield Finding(_BACKUP, "backup_failed", status.backup_error, "Run playbooks/backup.yml.")
    elif old is not None:
        is_old = bool(limits.backup_hours) and old > limits.backup_hours * _HOUR
        seen = f"the last good backup is {old / _HOUR:.0f} hours old"
        remedy = "See why the timer makes none, or run playbooks/backup.yml."
        yield Finding(_BACKUP, "backup_old", seen, remedy) if is_old else Finding(_BACKUP)
    elif limits.backup_hours and watched is not None and watched > limits.backup_hours * _HOUR:
        seen = f"no backup was made in the {watched / _HOUR:.0f} hours for which the stack is watched"
        yield Finding(
            _BACKUP, "backup_missing", seen, "Set mlflow_backup_schedule, or run playbooks/backup.yml."
        )


def _cutover(status: Status, now: float) -> Iterator[Finding]:
    unfinished = status.unfinished_for(now)
    if unfinished is None:
        if status.cutover:
            yield Finding(_CUTOVER)
    elif unfinished >= CUTOVER_SECONDS:
        seen = f"the {status.cutover} has been {status.cutover_state} for {unfinished / _HOUR:.1f} hours"
        yield Finding(_CUTOVER, "cutover_unfinished", seen, "Finish or undo it with its playbook.")


def _certificates(status: Status, limits: Limits, now: float) -> Iterator[Finding]:
    for name, end in status.expiries.items():
        days = (end - now) / _DAY
        if days <= 0:
            yield Finding(_certificate(name), "certificate_expired", f"it ended at {stamp(end)}", "Renew it.")
        elif limits.expiry_days and days < limits.expiry_days:
            seen = f"it ends in {days:.0f} days, at {stamp(end)}"
            yield Finding(_certificate(name), "certificate_expires", seen, "Renew it.")
        else:
            yield Finding(_certificate(name))


@dataclass(frozen=True)
class Told:
    """What was told of a subject last, and what was seen since.

    Attributes:
        cause: What was told.
        other: Another cause, which is seen now, or empty where all is well; None where it is what was told.
        since: When that was seen first, in seconds since 1970.
    """

    cause: str
    other: str | None = None
    since: float = 0.0

    def after(self, cause: str, at: float) -> "Told":
        """Return what is known once a cause was seen at a moment."""
        if cause == self.cause:
            return Told(self.cause)
        return Told(self.cause, cause, self.since if cause == self.other else at)


def changes(
    found: Iterable[Finding], told: Mapping[str, Told], now: float, patience: float
) -> tuple[list[Change], dict[str, Told]]:
    """Return what is to be told now, and what is known of what was told before.

    A failure is told at once, as findings have waited. What it turns into, another cause or none, is told once it has
    lasted: so what comes and goes is told once.

    Args:
        found: The states that are known.
        told: What was told last, by subject; what is well, or was never told, is not there.
        now: Seconds since 1970.
        patience: Seconds for which another state has to last.
    """
    news, known = [], dict(told)
    for finding in found:
        before = told.get(finding.subject)
        if before is None:
            if finding.cause:
                news.append(_change(finding, "", now))
            continue
        after = known[finding.subject] = before.after(finding.cause, finding.at)
        if after.other is not None and finding.at - after.since >= patience:
            news.append(_change(finding, before.cause, after.since))
    return news, known


def _change(finding: Finding, before: str, since: float) -> Change:
    status = "failed" if finding.cause else "recovered"
    return Change(finding.subject, status, finding.cause, before, finding.seen, finding.remedy, since)


def after_telling(told: Mapping[str, Told], done: Iterable[Change]) -> dict[str, Told]:
    """Return what was told, once these changes have been."""
    both = {**told, **{change.subject: Told(change.cause) for change in done}}
    return {subject: each for subject, each in both.items() if each.cause}


def stamp(moment: float) -> str:
    """Return seconds since 1970 as people and programs read them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
