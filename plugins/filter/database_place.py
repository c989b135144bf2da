# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: scheme and place of MLflow's database, without what may be secret."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import database_place


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[[str], str]]:
        return {"database_place": database_place}
