# SPDX-License-Identifier: GPL-3.0-or-later
"""What cutovers do in common that change the database where it is."""

from __future__ import annotations

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.operations import (
    DatabaseDeeds,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import WORK
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.record import InPlaceKind

# Of the database, before the cutover and as it is given up on the way back.
BEFORE, AFTER = "database.backup", "database.after"


class InPlaceDeeds(DatabaseDeeds[InPlaceKind]):
    """The deeds of such cutovers: `in_place.engine.InPlaceOperations` on real containers."""

    def require_way_back(self, record: InPlaceKind) -> None:
        self.require_images(record)
        if not (self.work / BEFORE).exists():
            raise RefusedError(
                f"The backup {self.work / BEFORE} is gone. Nothing was changed", "Put it back from a backup"
            )

    # What follows is `InPlaceOperations`.

    def back_up_after(self, record: InPlaceKind) -> None:
        # A rollback that was interrupted finds the one from before its first change.
        if not (self.work / AFTER).exists():
            self._require_tool().call("backup", f"{WORK}/{AFTER}")

    def restore_database(self, record: InPlaceKind) -> None:
        self._require_tool().call("restore", f"{WORK}/{BEFORE}")
