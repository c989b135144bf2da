# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why images could not be built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.image_builds import build_failure


def image_build_failure(result: Mapping[str, Any]) -> str:
    """Return what is to be told of each image that could not be built; see `build_failure`."""
    items = [item for item in result.get("results", [result]) if item.get("failed")]
    return "\n".join(build_failure(str(item.get("msg", "")), str(item.get("stderr", ""))) for item in items)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[[Mapping[str, Any]], str]]:
        return {"image_build_failure": image_build_failure}
