# SPDX-License-Identifier: Apache-2.0
"""The checks: each a program of its own, which can be ended when it does not end by itself."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow_sftp.monitor.outcome import Outcome, read_outcome, timed_out

# Seconds for a killed program to be gone; one that waits for a dead disk is left behind.
_LAST_SECONDS = 5.0

MLFLOW_SFTP = (sys.executable, "-m", "mlflow_sftp")


@dataclass(frozen=True)
class Check:
    """A program that looks at something, and prints what it found as JSON.

    Attributes:
        name: In metrics and alerts.
        command: The program with its arguments.
        every: Seconds from one end to the next start while all is well.
        limit: Seconds after which it is ended.
        told: Its standard input.
        environment: What it has besides the monitor's own.
        heavy: Whether it takes seconds of a processor, and hundreds of megabytes: of those, one runs at a time, and
            none while a stack starts.
        asks_mlflow: Whether it asks MLflow or its database, which a cutover closes.
    """

    name: str
    command: tuple[str, ...]
    every: float
    limit: float
    told: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    heavy: bool = False
    asks_mlflow: bool = False


def run_check(check: Check) -> Outcome:
    """Carry out a check; whatever happens to it is an outcome."""
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            check.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **check.environment},
            start_new_session=True,
        )
    except OSError as error:
        return read_outcome(check.name, time.time(), 0.0, "", f"{check.command[0]}: {error.strerror}")
    try:
        printed, complaints = process.communicate(check.told, timeout=check.limit)
    except subprocess.TimeoutExpired:
        return timed_out(check.name, time.time(), check.limit)
    finally:
        _end(process)
    return read_outcome(check.name, time.time(), time.monotonic() - started, printed, complaints)


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill what a check has started and left running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_LAST_SECONDS)


def pause(check: Check, settled_for: float | None, interval: float, patience: float) -> float:
    """Return the seconds until a check is made again.

    Args:
        check: The check.
        settled_for: Seconds for which it has found the same; None where it never failed, or has recovered.
        interval: Seconds between two quick checks: what fails is looked at no less often.
        patience: Seconds for which something has to last before anybody is told.
    """
    if settled_for is None:
        return check.every
    again = min(check.every, interval)
    return again if settled_for >= patience else min(again, max(1.0, patience / 2))
