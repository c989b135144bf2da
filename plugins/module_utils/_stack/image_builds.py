# SPDX-License-Identifier: GPL-3.0-or-later
"""Why an image could not be built: what the failed step said, and what to do about it where that is known."""

from __future__ import annotations

import re

# BuildKit repeats the end of what the failed step printed, each line with the seconds since the step began.
_FAILED_STEP = re.compile(r"^ > \[[^\n]*\n(?P<said>.*?)^------$", re.MULTILINE | re.DOTALL)
_SECONDS = re.compile(r"^\d+\.\d+ ", re.MULTILINE)
_LINES = 20
_OTHER_FILES = "DO NOT MATCH THE HASHES"
_REMEDY = (
    "The package index has other files than PyPI. Name PyPI or a mirror of its files (mlflow_stack_pip_index_url); "
    "where the index builds packages anew, set mlflow_stack_pip_require_hashes to false."
)


def build_failure(problem: str, output: str) -> str:
    """Return the end of what the failed step of a build said, and a remedy where one is known.

    Args:
        problem: What the module says of it.
        output: All that the builder printed.
    """
    step = _FAILED_STEP.search(output)
    said = _SECONDS.sub("", step["said"]) if step else output
    lines = [line for line in said.splitlines() if line.strip()][-_LINES:]
    return "\n".join([f"{problem}:" if lines else problem, *lines, *[_REMEDY] * (_OTHER_FILES in output)])
