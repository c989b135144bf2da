# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the files of MLflow's login."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.login import digests, login_files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import retired_users


def mlflow_login(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the files by name, each with its text, by service the digest of those that it has, and who has none."""
    files = login_files(
        str(settings["secret"]),
        str(settings["admin_password"]),
        settings["services"],
        settings["service_permissions"],
        str(settings["default_permission"]),
        int(settings["cache_ttl"]),
    )
    return {"files": files, "digests": digests(files), "retired": retired_users(settings["services"])}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"mlflow_login": mlflow_login}
