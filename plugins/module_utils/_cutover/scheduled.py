# SPDX-License-Identifier: GPL-3.0-or-later
"""What a timer or cron calls on the Docker host, with what a role has written there: no controller is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)


def main(path: Path, playbook: str, deed: Callable[[Mapping[str, Any]], list[str]]) -> int:
    """Do a deed as a file says, and print the lines that it returns; returns the exit code.

    Args:
        path: Of the file, which `playbook` writes.
        playbook: To be named where that cannot be read.
        deed: Takes what the file says.
    """
    try:
        lines = deed(_read(path, playbook))
    except CutoverError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror}. Mend it and run this again.", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _read(path: Path, playbook: str) -> Mapping[str, Any]:
    try:
        given: Mapping[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        # What it holds may be secret.
        raise RefusedError(f"{path} is no JSON", f"Run {playbook}, which writes it") from error
    return given
