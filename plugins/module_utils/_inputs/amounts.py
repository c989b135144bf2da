# SPDX-License-Identifier: GPL-3.0-or-later
"""Amounts of space as an inventory gives them."""

from __future__ import annotations

import re

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(%|([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_EXPONENTS = {"K": 10, "M": 20, "G": 30, "T": 40}
EXPECTED = "expected a percentage as 10%, an amount as 5G, or 0 for no limit"


def parse_amount(text: str) -> tuple[int, float] | None:
    """Return the bytes, and the fraction of all there is, that an amount means; None where it means none."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        return None
    number = float(match[1])
    if match[2] is None and number:
        # As 10 for 10%, or 0.05 for 5%, which would be no limit at all in bytes.
        return None
    if match[2] == "%":
        return (0, number / 100) if number <= 100 else None
    return int(number * (1 << _EXPONENTS.get((match[3] or "").upper(), 0))), 0.0
