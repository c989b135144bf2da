# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine tells of itself, asked through Docker's client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

# What ``timeout`` ends with where there was no answer in time.
TIMED_OUT = 124
# As AnsibleModule.run_command: exit code, output and complaints of a command.
Run = Callable[[list[str]], tuple[int, str, str]]


class Module(Protocol):
    """What is needed of an AnsibleModule."""

    def run_command(self, args: list[str]) -> tuple[int, str, str]:
        """Run a command."""

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """End the module as failed."""


def ask(module: Module, seconds: int, *arguments: str) -> str:
    """Return what ``docker`` says; the module fails where it does not, or not within so many seconds."""
    code, output, said = module.run_command(["timeout", str(seconds), "docker", *arguments])
    if code:
        module.fail_json(f"docker {' '.join(arguments)} failed ({code}): {said.strip() or 'no answer'}")
    return output


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
