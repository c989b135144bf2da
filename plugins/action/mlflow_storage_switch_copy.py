# SPDX-License-Identifier: GPL-3.0-or-later
"""Action: wait for the copy of a storage switch, with a line about its progress now and then."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

LONGEST_WAIT_SECONDS = 120


class ActionModule(ActionBase):
    """Calls the module of the same name until the copy has ended, each time with a longer wait."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returned last."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        seconds, changed, begin = 1, False, True
        while True:
            result |= self._execute_module(
                module_args={**self._task.args, "seconds": seconds, "begin": begin}, task_vars=variables
            )
            changed = changed or bool(result.get("changed"))
            if result.get("failed") or result["ended"]:
                return {**result, "changed": changed}
            Display().display(f"{variables.get('inventory_hostname', '')}: {result['progress']}")
            begin = False
            seconds = min(seconds * 2, LONGEST_WAIT_SECONDS)
