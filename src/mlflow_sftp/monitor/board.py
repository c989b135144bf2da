# SPDX-License-Identifier: Apache-2.0
"""The last outcome of each check, for all who ask."""

import threading
import time
from dataclasses import dataclass, field

from mlflow_sftp.monitor.outcome import Outcome


@dataclass(frozen=True)
class Snapshot:
    """What the board held at a moment.

    Attributes:
        outcomes: The last of each check that has ended at least once.
        failing_since: When those that fail failed first, in seconds since 1970.
        running_since: When those that run now began.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failing_since: dict[str, float] = field(default_factory=dict)
    running_since: dict[str, float] = field(default_factory=dict)


class Board:
    """Takes outcomes from the threads that make checks; nobody who reads waits for a check."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Snapshot()
        self.changed = threading.Event()

    def begin(self, check: str) -> None:
        """Note that a check has begun."""
        with self._lock:
            self._now.running_since[check] = time.time()

    def end(self, outcome: Outcome) -> float | None:
        """Note what a check found; returns for how many seconds it has been failing, None where all is well."""
        with self._lock:
            self._now.running_since.pop(outcome.check, None)
            self._now.outcomes[outcome.check] = outcome
            if outcome.cause:
                since = self._now.failing_since.setdefault(outcome.check, outcome.finished)
            else:
                since = None
                self._now.failing_since.pop(outcome.check, None)
        self.changed.set()
        return None if since is None else max(0.0, outcome.finished - since)

    def snapshot(self) -> Snapshot:
        """Return a copy of what is known."""
        with self._lock:
            return Snapshot(
                dict(self._now.outcomes), dict(self._now.failing_since), dict(self._now.running_since)
            )
