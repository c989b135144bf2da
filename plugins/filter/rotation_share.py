# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what a Docker host does in a rotation of SSH keys, among others of the same account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.together import Part, shares


def rotation_share(parts: Iterable[Mapping[str, Any]], host: str) -> dict[str, Any]:
    """Return what `host` does: its phase, whether the new key may be accepted already, and findings."""
    share = shares([Part(**part) for part in parts])[host]
    return {**asdict(share), "findings": list(share.findings)}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"rotation_share": rotation_share}
