# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp read-back`."""

from typing import Any

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
    waiting_reported,
)
from mlflow_sftp.cli.tracking_option import tracking_option
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.client_waits import shorten_waits
from mlflow_sftp.operations.read_back import read_back
from mlflow_sftp.operations.round_trip import RoundTrip
from mlflow_sftp.uri import redact


def _count(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value == "all":
        return None
    if not value.isdecimal() or not int(value):
        raise click.BadParameter("give a number above 0, or all", ctx, param)
    return int(value)


@click.command("read-back", cls=ErrorReportingCommand)
@click.argument("root")
@database_option
@tracking_option
@click.option("--store", help="Where ROOT is, if it is mlflow-artifacts:/: the artifacts destination.")
@click.option("--manifest", type=FILE, help="Manifest of a copy to the store: what there must be.")
@click.option(
    "--runs",
    default="10",
    show_default=True,
    callback=_count,
    help="How many runs and how many models, spread from the oldest to the newest; or all.",
)
@click.option("--working-directory", help="Where relative paths in the database start.")
@json_option
def read_back_command(
    root: str, database: Database, tracking_uri: str, as_json: bool, **options: Any
) -> None:
    """Download runs and models through MLflow, and compare them.

    Logged models and runs below ROOT are read as users read them, every file is compared. Exit code 3 if something
    is not as it was.
    """
    shorten_waits(sftp=20)
    with waiting_reported(f"reading back through {redact(tracking_uri)}"):
        # A server that is not there is one reason, not one for each run.
        RoundTrip(tracking_uri).reach()
        found = read_back(database, root, tracking_uri, **options)
    if as_json:
        print_json(found.as_dict())
    else:
        for failure in found.problems:
            click.echo(f"{failure.kind} {failure.identifier} {printable(failure.path)}: {failure.cause}")
        click.echo(
            f"{found.runs} runs and {found.models} models read back, {found.files} files "
            f"({readable_size(found.bytes)}): {len(found.problems)} problems"
        )
    if found.problems:
        raise click.exceptions.Exit(EXIT_INCOMPLETE)
