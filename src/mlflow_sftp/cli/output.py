# SPDX-License-Identifier: Apache-2.0
"""What the storage commands share: options, output, exit codes, errors as one line."""

import json
from pathlib import Path
from typing import Any

import click

from mlflow_sftp.errors import SftpError, StorageError

# Done, but something was found or left behind; 1 is a failure, 2 wrong usage.
EXIT_LEFT = 3

FILE = click.Path(path_type=Path, dir_okay=False)


class Reporting(click.Command):
    """A command that reports our own errors as one line, with exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (StorageError, SftpError) as error:
            raise click.ClickException(str(error)) from error


class ReportingGroup(Reporting, click.Group):
    """A group whose commands report as `Reporting` does."""


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def readable_size(count: float) -> str:
    """Bytes for people, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
