# SPDX-License-Identifier: Apache-2.0
"""What is told of files that were deleted, or would be."""

from dataclasses import dataclass, field
from typing import Any

from mlflow_sftp.stores.base import Totals, escape_undecodable


@dataclass
class Deletion:
    """What was deleted, or would be; `kept` maps paths of what stays to the reason."""

    removed: Totals = field(default_factory=lambda: Totals(0, 0))
    kept: dict[str, str] = field(default_factory=dict)

    def count(self, totals: Totals) -> None:
        """Add what went."""
        self.removed = Totals(self.removed.files + totals.files, self.removed.bytes + totals.bytes)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON; names that are not UTF-8 are escaped."""
        return {
            "removed": self.removed._asdict(),
            "kept": escaped(self.kept),
            "changed": self.removed.files > 0,
        }


def escaped(reasons: dict[str, str]) -> dict[str, str]:
    """Reasons by paths, of which those that are not UTF-8 are escaped."""
    return {escape_undecodable(path): reason for path, reason in reasons.items()}
