# SPDX-License-Identifier: GPL-3.0-or-later
"""What the records of cutovers have in common that change the database where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.record import (
    DatabaseRecord,
)

InPlaceKind = TypeVar("InPlaceKind", bound="InPlaceRecord")


@dataclass(frozen=True, kw_only=True)
class InPlaceRecord(DatabaseRecord):
    """A cutover that changes the database where it is, so that the way back is a backup.

    Attributes:
        kept: Whether the database that is given up was kept on the way back.
    """

    GIVEN_UP: ClassVar[str] = "the present database is kept beside the record"

    kept: bool = False

    @property
    def going_back(self) -> bool:
        """Whether the database that is given up was kept already."""
        return self.kept
