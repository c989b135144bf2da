# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of the backups of a stack: ``backup.json`` in its directory, for whoever watches their age."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import durable_file
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.status import tell

FILE = "backup.json"


def read_status(directory: Path) -> dict[str, Any]:
    """Return what is known; nothing where the file is not there or damaged, which the next backup mends."""
    try:
        found = json.loads((directory / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def age_of_last_good(status: Mapping[str, Any], now: float) -> int | None:
    """Return how many seconds ago the last good backup ended; None where there was none."""
    good = status.get("last_good") or {}
    finished = good.get("finished_seconds")
    return max(0, int(now - finished)) if isinstance(finished, int | float) else None


def note_good(directory: Path, result: Mapping[str, Any]) -> None:
    """Write down a backup that succeeded; raises OSError."""
    _write(directory, {"contract": 1, "last_good": {**result, **_now()}, "failed": None})


def note_failure(directory: Path, error: str) -> None:
    """Write down why a backup failed, beside the last good one; raises OSError."""
    good = read_status(directory).get("last_good")
    _write(directory, {"contract": 1, "last_good": good, "failed": {"error": error, **_now()}})


def _now() -> dict[str, Any]:
    now = int(time.time())
    return {
        "finished_seconds": now,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
    }


def _write(directory: Path, status: Mapping[str, Any]) -> None:
    text = json.dumps(status, indent=2, sort_keys=True) + "\n"
    # Whoever watches need not be root; it holds no secrets.
    durable_file.write(directory / FILE, text.encode(), mode=0o644)
    tell(directory, FILE, status)
