# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage of a report that is not one of an SFTP account, in the form of `_sftp.check.Stage`."""

from __future__ import annotations

from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import CAUSES


def caused(
    name: str,
    code: str,
    detail: str,
    *,
    status: str = "failed",
    seconds: float = 0.0,
    remedy: str = "",
    **known: str,
) -> dict[str, Any]:
    """Return a stage that failed, or that is warned about.

    Args:
        name: Of the stage.
        code: Of the cause, in `CAUSES`.
        detail: What was seen.
        status: ``failed`` or ``warning``.
        seconds: How long it took.
        remedy: In the place of the cause's own.
        known: Values of the placeholders of the cause's remedy; without any, it is taken as it is.
    """
    cause = CAUSES[code]
    return {
        "name": name,
        "status": status,
        "seconds": seconds,
        "detail": detail,
        "cause": code,
        "meaning": cause.meaning,
        "remedy": remedy or (cause.remedy.format(**known) if known else cause.remedy),
    }
