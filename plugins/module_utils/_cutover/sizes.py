# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes for people."""

from __future__ import annotations


def readable_size(count: float) -> str:
    """Return bytes for people, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
