# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stack's monitor may know: files in ``status`` of its directory, which is there where a monitor is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import durable_file

DIRECTORY = "status"


def tell(stack: Path, name: str, content: Mapping[str, Any]) -> None:
    """Let the monitor of a stack know something without secrets; nothing depends on it, so nothing is raised."""
    if not (stack / DIRECTORY).is_dir():
        return
    with contextlib.suppress(OSError):
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        durable_file.write(stack / DIRECTORY / name, text.encode(), mode=0o644)
