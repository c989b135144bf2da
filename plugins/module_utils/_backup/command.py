# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup without a controller: what a timer or cron calls on the Docker host, with what the role has written there.

PYTHONPATH=<program> python3 -m ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.command <file>
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.backup import back_up
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.module import options_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import settings_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.scheduled import main
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def run(given: Mapping[str, Any]) -> list[str]:
    """Back up as a file says, and return the result for people."""
    result: list[str] = back_up(Stack(settings_of(given)), options_of(given))["lines"]
    return result


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "playbooks/backup.yml", run))
