# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of backups share: the options of a repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.repository import Repository
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import Access

REPOSITORY_OPTIONS: dict[str, dict[str, Any]] = {
    "repository": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "private_key": {"type": "str", "default": "", "no_log": True},
    "known_hosts": {"type": "str", "default": "", "no_log": False},
    "image": {"type": "str", "required": True},
    "host": {"type": "str", "required": True},
}


def access_of(options: Mapping[str, Any]) -> Access:
    """Return the access that a module's options mean; raises RefusedError where they mean none."""
    names = ("password", "environment", "private_key", "known_hosts", "image")
    return Access(repository=Repository.at(options["repository"]), **{name: options[name] for name in names})
