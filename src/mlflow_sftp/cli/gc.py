# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp gc`."""

from pathlib import Path

import click

from mlflow_sftp.cli.database_option import database_option
from mlflow_sftp.cli.output import (
    EXIT_INCOMPLETE,
    FILE,
    ErrorReportingCommand,
    json_option,
    print_json,
    printable,
    readable_size,
)
from mlflow_sftp.cli.tracking_option import tracking_option
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.client_waits import shorten_waits
from mlflow_sftp.operations.garbage import collect


@click.command("gc", cls=ErrorReportingCommand)
@database_option
@tracking_option
@click.option(
    "--days", type=click.FloatRange(min=0), required=True, help="For how long it has been deleted at least."
)
@click.option(
    "--journal",
    type=FILE,
    required=True,
    help="File that remembers which artifacts have to follow their rows; give the same one each time.",
)
@click.option("--destination", help="The server's artifacts destination, in proxied access.")
@click.option("--check", is_flag=True, help="Only count.")
@json_option
def gc_command(
    database: Database,
    tracking_uri: str,
    days: float,
    journal: Path,
    destination: str | None,
    check: bool,
    as_json: bool,
) -> None:
    """Remove for good what users deleted long ago in MLflow, rows and artifacts.

    Those are runs, logged models and experiments. What is restored meanwhile stays, and so does what a version of a
    registered model leads to.
    """
    shorten_waits(sftp=5, http=20)
    collected = collect(
        database, tracking_uri, days=days, journal=journal, destination=destination, check=check
    )
    if as_json:
        print_json(collected.as_dict())
    else:
        would = "would be " if check else ""
        size = "of unknown size" if collected.artifacts is None else readable_size(collected.artifacts.bytes)
        click.echo(
            f"{collected.runs} runs, {collected.models} logged models and {collected.experiments} experiments "
            f"{would}removed, artifacts {size}"
        )
        for name, reason in collected.kept.items():
            click.echo(f"stays: {printable(name)}: {printable(reason)}", err=True)
        for name, reason in collected.failed.items():
            click.echo(f"stays for now: {printable(name)}: {printable(reason)}", err=True)
    if collected.failed:
        raise click.exceptions.Exit(EXIT_INCOMPLETE)
