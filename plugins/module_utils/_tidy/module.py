# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of what is tidied, for the module and for what runs without a controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Days

TIDY_OPTIONS: dict[str, dict[str, Any]] = {
    **{
        f"{name}_days": {"type": "int", "default": 0}
        for name in ("deleted", "cutover", "quarantine", "download", "upload")
    },
    "limit_hours": {"type": "int", "default": 2},
}
# As long as the playbook waits for all of it.
_MOST_HOURS = 7 * 24


def days_of(options: Mapping[str, Any]) -> Days:
    """Return for how long each kind stays, as a module's options say; raises RefusedError where they mean no time."""
    return Days(
        deleted=_number(options["deleted_days"]),
        cutovers=_number(options["cutover_days"]),
        quarantine=_number(options["quarantine_days"]),
        downloads=_number(options["download_days"]),
        uploads=_number(options["upload_days"]),
    )


def limit_of(options: Mapping[str, Any]) -> float:
    """Return after how many seconds a kind is stopped, likewise."""
    hours = _number(options["limit_hours"])
    if not isinstance(hours, int) or isinstance(hours, bool) or not 1 <= hours <= _MOST_HOURS:
        raise RefusedError(
            f"limit_hours is {hours}. Nothing was changed", f"Give a number of hours, 1 to {_MOST_HOURS}"
        )
    return hours * 3600.0


def _number(value: Any) -> Any:
    """Return the number that a text is, as from the command line; anything else as it is, to be refused."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value
