# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp clean-downloads`."""

import click

from mlflow_sftp.cli.deletion import print_deletion
from mlflow_sftp.cli.output import ErrorReportingCommand, json_option
from mlflow_sftp.operations.downloads import clean_downloads


@click.command("clean-downloads", cls=ErrorReportingCommand)
@click.option(
    "--hours", type=click.FloatRange(min=0), required=True, help="For how long nothing of it has changed."
)
@click.option("--check", is_flag=True, help="Only tell what would be deleted.")
@json_option
def clean_downloads_command(hours: float, check: bool, as_json: bool) -> None:
    """Delete what was downloaded into this machine's temporary directory and never removed.

    That is what an MLflow server does when somebody looks at an artifact. What a process has open stays.
    """
    print_deletion(clean_downloads(hours=hours, check=check), "temporary files", check=check, as_json=as_json)
