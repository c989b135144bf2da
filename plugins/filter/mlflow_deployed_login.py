# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what a deployed stack knows of MLflow's login."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.login import DeployedLogin


def mlflow_deployed_login(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return text, administrator's password, users and problem; see `DeployedLogin`."""
    found = asdict(DeployedLogin.read(answer))
    return {**found, "users": list(found["users"])}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"mlflow_deployed_login": mlflow_deployed_login}
