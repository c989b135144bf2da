# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a path that an inventory gives."""

from __future__ import annotations

import re


def path_problem(path: str, *, without_spaces: bool = False) -> str:
    """Return what was expected of a directory's path; empty where nothing is wrong."""
    if not path.startswith("/") or not path.strip("/"):
        return "expected an absolute directory other than '/'."
    tidy = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    if ".." in tidy.split("/"):
        return "expected a path without '..'."
    if without_spaces and re.search(r"\s", path):
        return "expected a path without spaces."
    return f"write it as '{tidy}'." if path != tidy else ""
