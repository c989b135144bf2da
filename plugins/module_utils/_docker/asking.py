# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine tells of itself, asked through Docker's client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

# What ``timeout`` ends with where there was no answer in time.
TIMED_OUT = 124
# As AnsibleModule.run_command: exit code, output and complaints of a command.
Run = Callable[[list[str]], tuple[int, str, str]]


def engine_info(run: Run, seconds: int) -> tuple[int, dict[str, Any], str]:
    """Return what ``docker info`` ended with, what it tells, empty where that is no mapping, and its complaints.

    Args:
        run: Runs a command.
        seconds: How long an answer may take.
    """
    code, output, said = run(["timeout", str(seconds), "docker", "info", "--format", "{{json .}}"])
    try:
        shown = json.loads(output)
    except json.JSONDecodeError:
        shown = {}
    return code, shown if isinstance(shown, dict) else {}, said.strip()
