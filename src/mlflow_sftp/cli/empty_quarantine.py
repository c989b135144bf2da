# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp empty-quarantine`."""

import click

from mlflow_sftp.cli.deletion import print_deletion
from mlflow_sftp.cli.output import ErrorReportingCommand, json_option
from mlflow_sftp.operations.quarantine import empty_quarantine


@click.command("empty-quarantine", cls=ErrorReportingCommand)
@click.argument("store")
@click.option(
    "--days", type=click.FloatRange(min=0), required=True, help="How long ago it was moved aside at least."
)
@click.option("--check", is_flag=True, help="Only tell what would be deleted.")
@json_option
def empty_quarantine_command(store: str, days: float, check: bool, as_json: bool) -> None:
    """Delete what audits moved aside long ago below STORE.

    STORE is a path or an sftp:// URI.
    """
    print_deletion(empty_quarantine(store, days=days, check=check), "files", check=check, as_json=as_json)
