# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the controller that variables name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KeyFile:
    """A file with a key or certificate that a variable names; `problem` is why its text could not be read."""

    path: str
    problem: str = ""
    mode: int = 0o600
    text: str = ""
