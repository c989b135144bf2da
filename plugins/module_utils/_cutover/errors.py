# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a cutover does not begin, or did not succeed."""

from __future__ import annotations


class CutoverError(Exception):
    """What went wrong, and what to do about it."""

    def __init__(self, seen: str, remedy: str = "") -> None:
        super().__init__(". ".join(part.rstrip(". ") for part in (seen, remedy) if part) + ".")
        self.seen = seen
        self.remedy = remedy


class RefusedError(CutoverError):
    """Nothing was changed."""


class UnchangedError(CutoverError):
    """It failed, and whoever failed says that nothing was changed."""


class LateError(CutoverError):
    """It did not end in time, and was stopped: what it was at may be done or not."""


class StepError(CutoverError):
    """A step of a cutover failed; `step` is its name."""

    def __init__(self, step: str, seen: str, remedy: str = "") -> None:
        super().__init__(f"{step}: {seen}", remedy)
        self.step = step
