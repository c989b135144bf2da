# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp purge-roundtrips`."""

import click

from mlflow_sftp.cli.database_option import database_option
from mlflow_sftp.cli.output import ErrorReportingCommand, json_option, print_json
from mlflow_sftp.cli.tracking_option import tracking_option
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.client_waits import shorten_waits
from mlflow_sftp.operations.purge import purge


@click.command("purge-roundtrips", cls=ErrorReportingCommand)
@database_option
@tracking_option
@click.option("--destination", help="The server's artifacts destination, in proxied access.")
@click.option("--check", is_flag=True, help="Only tell what would be removed.")
@json_option
def purge_round_trips_command(
    database: Database, tracking_uri: str, destination: str | None, check: bool, as_json: bool
) -> None:
    """Remove for good what round trips left in MLflow, rows and artifacts.

    Nothing that anybody else made is touched.
    """
    shorten_waits(sftp=5, http=20)
    purged = purge(database, tracking_uri, destination=destination, check=check)
    if as_json:
        print_json(purged._asdict())
    else:
        would = "would be " if check else ""
        click.echo(f"{purged.runs} runs and {purged.experiments} experiments {would}removed")
