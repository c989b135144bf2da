# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what the stack's images are built from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack import image_sources as decision

# Where a clone has them; whatever else lies in its directory is not looked at.
_OF_A_CLONE = ("LICENSES", "pyproject.toml", "requirements", "src", "experiments")


def image_sources(
    role: str, version: str = "", collection_version: str = "", dashboard: bool = False
) -> dict[str, Any]:
    """Return what the images are built from, the files with their SHA-1, and findings; see `ImageSources`."""
    collection, built = Path(role).parents[1], Path(role, "files/image")
    clone = {name for top in _OF_A_CLONE for name in _files(collection, collection / top)}
    chosen = decision.image_sources(
        clone, set(_files(built, built)), str(version), str(collection_version), dashboard
    )
    root = collection if chosen.place == "checkout" else built
    return {
        **asdict(chosen),
        "root": str(root),
        "files": {name: _sha1(root / name) for name in chosen.files},
        "findings": list(chosen.findings),
    }


def _files(root: Path, path: Path) -> Iterator[str]:
    for each in path.rglob("*") if path.is_dir() else [path]:
        if each.is_file():
            yield each.relative_to(root).as_posix()


def _sha1(path: Path) -> str:
    # Compared with what the module `find` says of the build context.
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"image_sources": image_sources}
