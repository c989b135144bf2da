# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp prune`."""

from pathlib import Path
from typing import Any

import click

from mlflow_sftp.cli.database_option import database_option
from mlflow_sftp.cli.output import (
    EXIT_INCOMPLETE,
    FILE,
    ErrorReportingCommand,
    json_option,
    print_json,
    readable_size,
)
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.prune import prune


@click.command("prune", cls=ErrorReportingCommand)
@click.argument("source")
@click.argument("target")
@database_option
@click.option(
    "--manifest",
    "manifests",
    type=FILE,
    required=True,
    multiple=True,
    help="Manifest of a copy from SOURCE to TARGET; repeatable.",
)
@click.option("--root", help="How the database spells SOURCE, if in another way.")
@click.option("--working-directory", help="Where relative paths in the database start.")
@click.option(
    "--removed",
    type=FILE,
    help="What mlflow-sftp gc has noted: that goes as well where no row names it and TARGET has it no more.",
)
@click.option("--check", is_flag=True, help="Compare everything, and only tell what would be deleted.")
@json_option
def prune_command(
    source: str, target: str, database: Database, manifests: tuple[Path, ...], as_json: bool, **options: Any
) -> None:
    """Delete from SOURCE what a copy brought to TARGET.

    A file goes once both sides were read again and are equal.
    What the database leads to stays, and what no copy brought. Exit code 3 if files stay.
    """
    report = prune(source, target, manifests, database, **options)
    if as_json:
        print_json(report.as_dict())
    else:
        would = "would be " if options["check"] else ""
        click.echo(
            f"{report.deleted.files} files ({readable_size(report.deleted.bytes)}) and {report.directories} "
            f"directories {would}deleted, {report.kept_files} files stay"
        )
        for reason, count in report.reasons.items():
            click.echo(f"{count:9} stay: {reason}")
    if report.kept_files:
        raise click.exceptions.Exit(EXIT_INCOMPLETE)
