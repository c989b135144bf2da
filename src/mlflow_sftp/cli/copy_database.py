# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp copy-database`."""

import click

from mlflow_sftp.cli.database_option import database_option
from mlflow_sftp.cli.output import (
    EXIT_INCOMPLETE,
    ErrorReportingCommand,
    json_option,
    print_json,
    printable,
    waiting_reported,
)
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_copy import DatabaseCopy, copy_database


@click.command("copy-database", cls=ErrorReportingCommand)
@database_option
@click.option(
    "--target-database",
    envvar="MLFLOW_SFTP_TARGET_DATABASE_URI",
    required=True,
    help="SQLAlchemy URI of the empty one; with a password, better in MLFLOW_SFTP_TARGET_DATABASE_URI.",
)
@click.option(
    "--check", is_flag=True, help="Only count the rows, and list those that the target cannot hold."
)
@click.option(
    "--keys",
    "shown",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many rows to name that have the same problem.",
)
@json_option
def copy_database_command(
    database: Database, target_database: str, check: bool, shown: int, as_json: bool
) -> None:
    """Copy MLflow's database into an empty one, from SQLite to PostgreSQL or back, and compare every value.

    Stop MLflow first: the source is only read, and its writers are locked out meanwhile. Its tables must be those of
    the installed MLflow, which makes them in the target as well. Whatever stops the program, the target is empty or
    complete. Exit code 3 with --check if rows cannot be copied.
    """
    with waiting_reported(f"copying {database.name}"):
        copy = copy_database(database, target_database, check=check, shown=shown)
    if as_json:
        print_json(copy.as_dict())
    else:
        _print_table(copy, check)
    if copy.problems:
        raise click.exceptions.Exit(EXIT_INCOMPLETE)


def _print_table(copy: DatabaseCopy, check: bool) -> None:
    for name, rows in copy.tables.items():
        if rows:
            click.echo(f"{rows:12} {name}")
    for problem in copy.problems:
        click.echo(f"cannot be copied: {printable(str(problem))}")
    done = "would be copied" if check else "copied and compared"
    if not copy.changed:
        done = "were there already, all equal"
    click.echo(f"{copy.rows} rows {done}: {copy.source} -> {copy.target} ({copy.seconds:.1f} s)")
