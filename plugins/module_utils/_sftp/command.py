# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of an account without Ansible, as the stack's monitor calls it.

PYTHONPATH=<program> python3 -m ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.command
takes the options of the module sftp_check as JSON on standard input, and prints what the module returns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.check import (
    CheckOptions,
    check_account,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.options import CONNECTION_OPTIONS

_PROBE_SIZE = 65536


def run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check an account; `given` has ``host``, ``path``, and of the other options those that are not the default."""
    connection = {name: option.get("default") for name, option in CONNECTION_OPTIONS.items()}
    connection.update({name: value for name, value in given.items() if name in CONNECTION_OPTIONS})
    return check_account(connection, CheckOptions(given["path"], given.get("probe_size", _PROBE_SIZE)))


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
