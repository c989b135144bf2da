# SPDX-License-Identifier: GPL-3.0-or-later
"""Test: whether a host of the inventory is the controller itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible import constants, context


def on_controller(variables: Mapping[str, Any]) -> bool:
    """Return whether Ansible runs the tasks of the host with these variables on the controller."""
    given = variables.get("ansible_connection") or context.CLIARGS.get("connection")
    return str(given or constants.DEFAULT_TRANSPORT).rpartition(".")[2] == "local"


class TestModule:
    """Tests of this file."""

    def tests(self) -> dict[str, Callable[[Mapping[str, Any]], bool]]:
        return {"on_controller": on_controller}
