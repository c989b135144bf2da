# SPDX-License-Identifier: Apache-2.0
"""The commands around whole stores, for the `mlflow-sftp` program to include.

Each is imported when it is called: SQLAlchemy is neither needed nor installed where only files are copied.
"""

import importlib

import click

_COMMANDS = {
    "audit": ("mlflow_sftp.cli.audit", "audit_command"),
    "copy": ("mlflow_sftp.cli.copy", "copy_command"),
    "prune": ("mlflow_sftp.cli.prune", "prune_command"),
    "relocate": ("mlflow_sftp.cli.relocate", "relocate_group"),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            raise click.ClickException(f"{cmd_name} needs the Python package {error.name}") from error
        return command


storage_commands = _LazyGroup("storage")
