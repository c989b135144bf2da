# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes what piles up in the life of a stack, and nothing that anything needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

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
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Days
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.in_store import HOME, TOOLS, InStore
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.on_host import OnHost
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import KINDS, Outcome


def tidy(stack: Stack, days: Days, limit: float, *, check: bool) -> list[Outcome]:
    """Delete what is old and superfluous, kind by kind; one that fails does not keep the others.

    Args:
        stack: The stack.
        days: How old what goes is.
        limit: Seconds after which a kind in the store is stopped: whoever waits for the stack has it after that.
        check: Whether nothing is to be changed.

    Raises:
        RefusedError: A cutover is half done, or somebody works on the stack. Nothing was changed.
    """
    settings = stack.settings
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
        return list(_kinds(stack, days, limit, check))


def _kinds(stack: Stack, days: Days, limit: float, check: bool) -> Iterator[Outcome]:
    require_none_interrupted(load_all(stack.settings.switches))
    yield from InStore(stack, days, limit, check).tidy()
    if days.cutovers:
        yield from OnHost(stack, days.cutovers, check).tidy()


def require_all(outcomes: Sequence[Outcome]) -> None:
    """Raise CutoverError where a kind could not be tidied."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        told = "; ".join(f"{KINDS[each.kind]}: {each.error}" for each in failed)
        raise CutoverError(
            f"Not everything could be tidied: {told}", "Mend that and run this again; the rest is done"
        )
