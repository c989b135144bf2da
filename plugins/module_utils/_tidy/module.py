# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of what is tidied, for the module and for what runs without a controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Days

TIDY_OPTIONS: dict[str, dict[str, Any]] = {
    f"{name}_days": {"type": "int", "default": 0}
    for name in ("deleted", "cutover", "quarantine", "download", "upload")
}


def days_of(options: Mapping[str, Any]) -> Days:
    """Return for how long each kind stays, as a module's options say; raises RefusedError where they mean no time."""
    return Days(
        deleted=options["deleted_days"],
        cutovers=options["cutover_days"],
        quarantine=options["quarantine_days"],
        downloads=options["download_days"],
        uploads=options["upload_days"],
    )
