# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup without a controller: what a timer or cron calls on the Docker host, with what the role has written there.

PYTHONPATH=<program> python3 -m ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.command <file>
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.backup import back_up
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.module import options_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import settings_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def main(path: Path) -> int:
    """Back up as a file says; returns the exit code."""
    try:
        given = _read(path)
        result = back_up(Stack(settings_of(given)), options_of(given))
    except CutoverError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror}. Mend it and run this again.", file=sys.stderr)
        return 1
    print("\n".join(result["lines"]))
    return 0


def _read(path: Path) -> Mapping[str, Any]:
    try:
        given: Mapping[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        # What it holds is secret.
        raise RefusedError(f"{path} is no JSON", "Run playbooks/backup.yml, which writes it") from error
    return given


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
