# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: how the inventory's login and gateway differ from the deployed ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack import front


def front_findings(given: Mapping[str, Any]) -> list[str]:
    """Return the sentences of a refusal; empty where both are as deployed."""
    deployed = {
        **front.login_front(_object(given["deployed_login"])),
        **front.gateway_front(yaml.safe_load(given["compose"])),
    }
    desired = {**front.login_front(_object(given["login"])), **front.desired_gateway(given["gateway"])}
    return front.front_findings(deployed, desired)


def _object(text: str) -> Any:
    return json.loads(text) if text else None


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[[Mapping[str, Any]], list[str]]]:
        return {"front_findings": front_findings}
