# SPDX-License-Identifier: GPL-3.0-or-later
"""Times for people."""

from __future__ import annotations

import time

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def readable_time(seconds: float) -> str:
    """Return a time, in seconds since the epoch, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def readable_age(seconds: float) -> str:
    """Return a number of seconds for people, in the two largest units that it has."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size or (size == 1 and not parts):
            parts.append(f"{left // size} {unit}")
        left %= size
    return " ".join(parts[:2])
