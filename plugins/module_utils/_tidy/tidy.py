# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes what piles up in the life of a stack, and nothing that anything needs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import durable_file
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import holder, locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
    require_none_interrupted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Days, require_no_leap
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.in_store import HOME, TOOLS, InStore
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.on_host import OnHost
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import KINDS, Outcome

# In `HOME`, when the stack was last tidied up.
_LAST = "last.json"


def tidy(
    stack: Stack, days: Days, limit: float, *, check: bool, clock_is_right: bool = False
) -> list[Outcome]:
    """Delete what is old and superfluous, kind by kind; one that fails does not keep the others.

    Args:
        stack: The stack.
        days: How old what goes is.
        limit: Seconds after which a kind in the store is stopped: whoever waits for the stack has it after that.
        check: Whether nothing is to be changed.
        clock_is_right: Whether somebody vouches for the host's clock.

    Raises:
        RefusedError: A cutover is half done, somebody works on the stack, or the clock may have been set forward by
            years. Nothing was changed.
    """
    settings = stack.settings
    last, now = _last(settings.directory / HOME), time.time()
    if not clock_is_right:
        require_no_leap(last, now)
    if check:
        held_by = holder(settings.switches)
        if held_by:
            raise RefusedError(held_by, "Wait until it has ended")
        return list(_kinds(stack, days, limit, check))
    home = settings.directory / HOME
    for path in (settings.switches, home, home / TOOLS):
        path.mkdir(mode=0o700, exist_ok=True)
    os.chown(home / TOOLS, settings.uid, settings.gid)
    with locked(settings.switches):
        # A clock that is behind, as before a host has asked for the time, makes nothing old, and teaches nothing.
        _note(home, now if clock_is_right or last is None else max(last, now))
        return list(_kinds(stack, days, limit, check))


def _kinds(stack: Stack, days: Days, limit: float, check: bool) -> Iterator[Outcome]:
    require_none_interrupted(load_all(stack.settings.switches))
    yield from InStore(stack, days, limit, check).tidy()
    if days.cutovers:
        yield from OnHost(stack, days.cutovers, check).tidy()


def _last(home: Path) -> float | None:
    """Return when the stack was last tidied up; None for never, or where nobody can tell."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads((home / _LAST).read_text())["begun_seconds"])
    return None


def _note(home: Path, now: float) -> None:
    durable_file.write(home / _LAST, f"{json.dumps({'begun_seconds': int(now)})}\n".encode())


def require_all(outcomes: Sequence[Outcome]) -> None:
    """Raise CutoverError where a kind could not be tidied."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        told = "; ".join(f"{KINDS[each.kind]}: {each.error}" for each in failed)
        raise CutoverError(
            f"Not everything could be tidied: {told}", "Mend that and run this again; the rest is done"
        )
