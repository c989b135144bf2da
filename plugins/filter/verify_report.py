# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: the results of all vantage points, and one report of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.report import build_report
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.results import collect_results


def verify_report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what report.json holds."""
    for entry in results:
        if not {"vantage", "result"} <= entry.keys():
            raise AnsibleFilterError("verify_report: every entry needs 'vantage' and 'result'")
    return build_report(results)


def verify_results(
    docker_hosts: Sequence[str],
    variables: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    reached: Sequence[str],
    may_be_empty: bool = False,
) -> list[dict[str, Any]]:
    """Return the entries for verify_report, also of vantage points that did not answer."""
    return collect_results(docker_hosts, variables, groups, reached, may_be_empty)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"verify_report": verify_report, "verify_results": verify_results}
