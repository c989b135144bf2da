# SPDX-License-Identifier: Apache-2.0
"""The last outcome of each check, for all who ask."""

import threading
import time
from dataclasses import dataclass, field

from mlflow_sftp.monitor.course import Course
from mlflow_sftp.monitor.outcome import Outcome


@dataclass(frozen=True)
class Snapshot:
    """What the board held at a moment.

    Attributes:
        outcomes: The last of each check that has ended at least once.
        failing_since: When those that have not recovered yet failed first, in seconds since 1970.
        running_since: When those that run now began.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failing_since: dict[str, float] = field(default_factory=dict)
    running_since: dict[str, float] = field(default_factory=dict)


class Board:
    """Takes outcomes from the threads that make checks; nobody who reads waits for a check.

    `patience` are the seconds for which a check has to be well to have recovered.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._outcomes: dict[str, Outcome] = {}
        self._courses: dict[str, Course] = {}
        self._running_since: dict[str, float] = {}
        self.changed = threading.Event()

    def begin(self, check: str) -> None:
        """Note that a check has begun."""
        with self._lock:
            self._running_since[check] = time.time()

    def end(self, outcome: Outcome) -> float | None:
        """Note what a check found; returns for how many seconds it has found that, None where all is well for long."""
        with self._lock:
            self._running_since.pop(outcome.check, None)
            self._outcomes[outcome.check] = outcome
            before = self._courses.get(outcome.check, Course())
            course = before.after(outcome.cause, outcome.finished, self._patience)
            self._courses[outcome.check] = course
        self.changed.set()
        return course.settled_for(outcome.finished)

    def snapshot(self) -> Snapshot:
        """Return a copy of what is known."""
        with self._lock:
            failing = {
                name: course.failing_since
                for name, course in self._courses.items()
                if course.failing_since is not None
            }
            return Snapshot(dict(self._outcomes), failing, dict(self._running_since))
