# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: the results of all vantage points, and one report of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis import history
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.hosts import describe_host
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


def verify_history(report: Mapping[str, Any], text: str, time: str) -> dict[str, Any]:
    """Return the history with this report: the text of its file, and what is drawn of it."""
    if not {"ok", "columns", "rows"} <= report.keys():
        raise AnsibleFilterError("verify_history: the report is none of verify_report's")
    lines = [*history.read_lines(text), history.line_of(report, time)]
    return {"text": history.written(lines), "pictures": history.pictures(lines, report)}


def verify_hosts(
    docker_hosts: Sequence[str], variables: Mapping[str, Mapping[str, Any]], version: str = ""
) -> list[dict[str, Any]]:
    """Return what is known of the Docker hosts themselves: capacity and versions; `version` is the collection's."""
    hosts = [describe_host(name, variables[name], version) for name in docker_hosts]
    return [host for host in hosts if host["entries"]]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "verify_history": verify_history,
            "verify_hosts": verify_hosts,
            "verify_report": verify_report,
            "verify_results": verify_results,
        }
