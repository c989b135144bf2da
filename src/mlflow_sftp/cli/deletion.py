# SPDX-License-Identifier: Apache-2.0
"""How commands tell of files that were deleted, or would be."""

import click

from mlflow_sftp.cli.output import print_json, printable, readable_size
from mlflow_sftp.operations.deletion import Deletion


def print_deletion(found: Deletion, what: str, *, check: bool, as_json: bool) -> None:
    """Print what went, or with `check` would, as JSON or for people, who are told what stays as well."""
    if as_json:
        print_json(found.as_dict())
        return
    would = "would be " if check else ""
    click.echo(f"{found.removed.files} {what} ({readable_size(found.removed.bytes)}) {would}deleted")
    for path, reason in found.kept.items():
        click.echo(f"stays: {printable(path)}: {reason}", err=True)
