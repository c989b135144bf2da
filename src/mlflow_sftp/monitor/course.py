# SPDX-License-Identifier: Apache-2.0
"""How a check goes on: a state counts once it has lasted, so that what comes and goes is one failure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Course:
    """How a check has gone.

    Attributes:
        cause: What it found last; empty where all was well.
        since: When it found that first, in seconds since 1970; None where it never failed, or has recovered.
        failing_since: When it failed first and has not recovered since; None likewise.
    """

    cause: str = ""
    since: float | None = None
    failing_since: float | None = None

    def after(self, cause: str, moment: float, patience: float) -> "Course":
        """Return the course after the check has found something.

        Args:
            cause: What it found; empty where all is well.
            moment: When, in seconds since 1970.
            patience: Seconds for which it has to be well to have recovered.
        """
        since = moment if self.since is None or cause != self.cause else self.since
        first = moment if self.failing_since is None else self.failing_since
        if cause:
            return Course(cause, since, first)
        if self.failing_since is None or moment - since >= patience:
            return Course()
        return Course("", since, first)

    def settled_for(self, moment: float) -> float | None:
        """Return for how many seconds it has found the same; None where it never failed, or has recovered."""
        return None if self.since is None else max(0.0, moment - self.since)
