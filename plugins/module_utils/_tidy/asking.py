# SPDX-License-Identifier: GPL-3.0-or-later
"""How the package's program is asked to tidy a kind, and what it says it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    LateError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import INCOMPLETE, Program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import Outcome

# As `mlflow-sftp clean` says of what is no reason to say anything.
_YOUNG = "it is too young"


@dataclass(frozen=True)
class Manner:
    """How a kind is tidied.

    Attributes:
        limit: Seconds after which it is stopped.
        check: Whether nothing is to be changed.
    """

    limit: float
    check: bool

    def call(self, program: Program, *arguments: str) -> Mapping[str, Any]:
        """Have a program tidy; raises CutoverError where it fails, or has to be stopped."""
        checking = ("--check",) if self.check else ()
        try:
            return program.call(*arguments, *checking, accepted=(0, INCOMPLETE), seconds=self.limit)
        except LateError as error:
            raise CutoverError(
                f"it was stopped after {self.limit / 3600:g} h, so that others can work on the stack; what is deleted "
                "is done",
                "The next run goes on. Where none comes to an end, raise mlflow_tidy_limit_hours",
            ) from error


def of_files(kind: str, found: Mapping[str, Any]) -> Outcome:
    """Return what a program says of files that it removed."""
    kept = {path: reason for path, reason in found["kept"].items() if reason != _YOUNG}
    return Outcome(kind, found["removed"]["files"], found["removed"]["bytes"], kept=kept)
