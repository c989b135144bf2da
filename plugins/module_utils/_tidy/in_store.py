# SPDX-License-Identifier: GPL-3.0-or-later
"""What is tidied by the package's program, where database and store can be reached."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import cached_property

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import NAMED, WORK
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    Program,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import PRUNED, load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.decisions import copies
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.asking import Manner, of_files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import (
    Days,
    begun_at,
    restorable,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.downloads import (
    servers_of_swarm,
    tidy_downloads,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import Outcome, attempt

# In the stack's directory. What the tool writes is in a directory of its own: root runs a program beside it.
HOME, TOOLS = "tidy", "work"
# In the latter, what went in the stores, for whoever deletes an old copy.
REMOVED = "removed"
_HOURS = 24


class InStore:
    """Runs, quarantine and dead uploads of a stack, and what its server has downloaded, or servers of this host's have.

    Args:
        stack: The stack.
        days: How old what goes is.
        limit: Seconds after which a kind is stopped.
        check: Whether nothing is to be changed.
    """

    def __init__(self, stack: Stack, days: Days, limit: float, check: bool) -> None:
        self._stack = stack
        self._days = days
        self._check = check
        self._manner = Manner(limit, check)

    def tidy(self) -> Iterator[Outcome]:
        """Tidy kind by kind."""
        spared = self._spared()
        for kind in spared:
            yield Outcome(kind, kept={"all of it": spared[kind]})
        asked: dict[str, Callable[[Program], Outcome]] = {
            name: deed
            for name, deed, days in (
                ("deleted", self._deleted, self._days.deleted),
                ("quarantine", self._quarantine, self._days.quarantine),
                ("uploads", self._uploads, self._days.uploads),
            )
            if days and name not in spared
        }
        for kind, deed in asked.items():
            yield attempt(kind, self._with_tool, deed)
        if self._days.downloads:
            yield attempt("downloads", self._downloads)

    def _with_tool(self, deed: Callable[[Program], Outcome]) -> Outcome:
        # Each has a program of its own: one that is stopped, or dies, takes no other along.
        with self._tool() as program:
            return deed(program)

    @contextlib.contextmanager
    def _tool(self) -> Iterator[Program]:
        name = self._stack.tidier
        work = self._stack.settings.directory / HOME / TOOLS
        volumes = self._stack.credentials()
        if work.exists():
            volumes.append(f"{work}:{WORK}:{'ro,' if self._check else ''}z")
        self._stack.start_tool(name, volumes)
        with running_program(name) as program:
            yield program

    def _deleted(self, program: Program) -> Outcome:
        found = self._manner.call(
            program,
            *("gc", "--days", str(self._days.deleted), "--journal", f"{WORK}/gc.json"),
            *("--destination", self._stack.store.uri, "--while-input"),
            *self._before(),
            *self._noting(),
        )
        counts = {name: found[name] for name in ("runs", "models", "experiments")}
        failed = [f"{name}: {reason}" for name, reason in found["failed"].items()]
        return Outcome(
            "deleted",
            sum(counts.values()) + found["resumed"],
            found["artifacts"]["bytes"] if found["artifacts"] else None,
            tuple(f"{count} {name}" for name, count in counts.items() if count),
            found["kept"],
            f"not everything could be deleted yet: {'; '.join(failed[:NAMED])}" if failed else "",
        )

    def _spared(self) -> dict[str, str]:
        """Return the kinds that stay as they are, with the reason: the database does not say what an undo needs."""
        restores = [each for each in self._records if isinstance(each, RestoreRecord)]
        restore = restorable(restores, self._days.cutovers, time.time())
        asked = {"deleted": self._days.deleted, "quarantine": self._days.quarantine}
        if restore is None:
            return {}
        reason = f"the {restore.title} can be undone, which brings back runs that need it"
        return {kind: reason for kind, days in asked.items() if days}

    def _before(self) -> list[str]:
        """Spare what an undo would bring back that gives MLflow the database from before."""
        cutover = restorable(self._records, self._days.cutovers, time.time())
        return ["--before", str(begun_at(cutover.id))] if cutover else []

    def _noting(self) -> list[str]:
        """Have noted what went, as long as a switch has left an old copy of it."""
        try:
            left = copies(self._records, self._stack.store)
        except RefusedError:
            return []
        pruned = [(self._stack.settings.switches / record.id / PRUNED).exists() for record in left]
        return [] if all(pruned) else ["--removed", f"{WORK}/{REMOVED}"]

    def _quarantine(self, program: Program) -> Outcome:
        days = str(self._days.quarantine)
        return self._removed("quarantine", program, "empty-quarantine", "--days", days)

    def _uploads(self, program: Program) -> Outcome:
        return self._removed("uploads", program, "clean", "--hours", str(self._days.uploads * _HOURS))

    def _removed(self, kind: str, program: Program, command: str, *options: str) -> Outcome:
        return of_files(kind, self._manner.call(program, command, self._stack.store.uri, *options))

    def _downloads(self) -> Outcome:
        project = self._stack.project
        servers = servers_of_swarm(project.name) if project.on_swarm else [f"{project.name}-mlflow-1"]
        return tidy_downloads(servers, self._days.downloads, self._manner)

    @cached_property
    def _records(self) -> list[Record]:
        # Whoever tidies holds the lock of cutovers.
        return load_all(self._stack.settings.switches)
