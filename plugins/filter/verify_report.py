# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: one report from the checks of all vantage points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.report import build_report


def verify_report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what report.json holds."""
    for entry in results:
        if not {"vantage", "result"} <= entry.keys():
            raise AnsibleFilterError("verify_report: every entry needs 'vantage' and 'result'")
    return build_report(results)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"verify_report": verify_report}
