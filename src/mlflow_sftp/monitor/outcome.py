# SPDX-License-Identifier: Apache-2.0
"""What a check found: its stages, and facts; read from what its program printed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Of a program that says nothing that can be understood, and of one that does not end.
BROKEN, TIMEOUT = "check_broken", "check_timeout"


@dataclass(frozen=True)
class Stage:
    """One step of a check that was gone.

    Attributes:
        name: As in `host_key`, `api` or `round_trip`.
        status: ok, warning or failed.
        seconds: How long it took; None where nobody knows.
        cause: Code of what is wrong; empty where nothing is.
        seen: What was seen.
        remedy: What to do.
    """

    name: str
    status: str
    seconds: float | None = None
    cause: str = ""
    seen: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        check: Its name.
        finished: When it ended, in seconds since 1970.
        seconds: How long it took.
        stages: Those that were gone; what comes after a failure is not known.
        facts: What it told besides, as its program names it.
    """

    check: str
    finished: float
    seconds: float
    stages: tuple[Stage, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[Stage, ...]:
        """The stages that failed."""
        return tuple(stage for stage in self.stages if stage.status == "failed")

    @property
    def cause(self) -> str:
        """The codes of what failed, in one word; empty where all is well."""
        return ",".join(sorted({stage.cause for stage in self.failed}))


def read_outcome(check: str, finished: float, seconds: float, printed: str, complaints: str) -> Outcome:
    """Return what a check's program has found.

    Args:
        check: Its name, which is also that of its only stage where the program tells of none.
        finished: When it ended.
        seconds: How long it took.
        printed: Its standard output: an object with `stages`, with `error`, or with facts.
        complaints: Its standard error.
    """
    try:
        told = json.loads(printed)
        stages = tuple(_stages(check, seconds, told))
    except (ValueError, TypeError, KeyError, AttributeError):
        seen = (complaints.strip().splitlines() or ["it said nothing"])[-1]
        return Outcome(check, finished, seconds, (Stage(check, "failed", seconds, BROKEN, seen),))
    return Outcome(check, finished, seconds, stages, told)


def timed_out(check: str, finished: float, limit: float) -> Outcome:
    """Return the outcome of a check that was ended because it did not end by itself."""
    seen = f"the check did not end within {limit:g} s, and was ended"
    remedy = "See what it waits for: something takes connections, or a file, and never answers."
    return Outcome(check, finished, limit, (Stage(check, "failed", limit, TIMEOUT, seen, remedy),))


def _stages(check: str, seconds: float, told: Any) -> Iterator[Stage]:
    if not isinstance(told, Mapping):
        raise TypeError
    if "error" in told:
        error = told["error"]
        yield Stage(check, "failed", seconds, error["cause"], error["seen"], error["remedy"])
        return
    if "stages" not in told:
        yield Stage(check, "ok", seconds)
    for each in told.get("stages", ()):
        if each["status"] != "skipped":
            yield Stage(
                each["name"],
                each["status"],
                each["seconds"],
                each.get("cause") or (BROKEN if each["status"] == "failed" else ""),
                each.get("detail") or "",
                each.get("remedy") or "",
            )
