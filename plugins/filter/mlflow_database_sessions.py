# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: how many sessions the stack's PostgreSQL has to bear."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.sessions import database_sessions


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[[int, int, bool], int]]:
        return {"mlflow_database_sessions": database_sessions}
