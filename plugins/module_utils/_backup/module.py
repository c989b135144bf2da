# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of backups share: the options of a repository and of a backup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.backup import Options
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


BACKUP_OPTIONS: dict[str, dict[str, Any]] = {
    "keep": {"type": "dict", "default": {}},
    "include_account": {"type": "bool", "default": False},
    "check_repository": {"type": "bool", "default": True},
    "check_data": {"type": "str", "default": ""},
    "new_repository": {"type": "bool", "default": False},
}


def access_of(options: Mapping[str, Any]) -> Access:
    """Return the access that a module's options mean; raises RefusedError where they mean none."""
    names = ("password", "environment", "private_key", "known_hosts", "image")
    return Access(repository=Repository.at(options["repository"]), **{name: options[name] for name in names})


def options_of(options: Mapping[str, Any]) -> Options:
    """Return the backup that a module's options mean; raises RefusedError likewise."""
    return Options(
        access=access_of(options),
        host=options["host"],
        keep=options["keep"],
        include_account=options["include_account"],
        check=options["check_repository"],
        check_data=options["check_data"],
        # A timer does not consent to anything.
        new_repository=options.get("new_repository", False),
    )
