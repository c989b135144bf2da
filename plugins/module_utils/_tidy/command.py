# SPDX-License-Identifier: GPL-3.0-or-later
"""Tidying up without a controller: what a timer or cron calls on the Docker host, with what the role has written there.

PYTHONPATH=<program> python3 -m ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.command <file>
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import settings_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.scheduled import main
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.module import days_of, limit_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.tidy import require_all, tidy


def run(given: Mapping[str, Any]) -> list[str]:
    """Tidy up as a file says, and return the result for people."""
    outcomes = tidy(Stack(settings_of(given)), days_of(given), limit_of(given), check=False)
    require_all(outcomes)
    return [line for outcome in outcomes for line in outcome.lines(check=False)]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "playbooks/tidy.yml", run))
