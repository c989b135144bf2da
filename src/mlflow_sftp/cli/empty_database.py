# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp empty-database`."""

import click

from mlflow_sftp.cli.database_option import missing_database_option
from mlflow_sftp.cli.output import ErrorReportingCommand, json_option, print_json, waiting_reported
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_copy import empty_database


@click.command("empty-database", cls=ErrorReportingCommand)
@missing_database_option
@click.option("--check", is_flag=True, help="Only tell what would be removed, and what else there is.")
@click.option("--unused", is_flag=True, help="Refuse where anybody else is connected to it (PostgreSQL).")
@json_option
def empty_database_command(database: Database, check: bool, unused: bool, as_json: bool) -> None:
    """Remove all that MLflow has made in a database: its tables, or the SQLite file.

    What was logged there is gone afterwards. A database that holds other tables as well is refused, one that is empty
    or missing is left as it is. Whatever stops it, a database of PostgreSQL's is whole or empty.
    """
    with waiting_reported(f"emptying {database.name}"):
        emptied = empty_database(database, check=check, unused=unused)
    if as_json:
        print_json({"database": database.name, "tables": emptied.tables, "others": emptied.others})
    else:
        click.echo(f"{database.name}: {emptied.tables} tables {'would be removed' if check else 'removed'}")
        for other in emptied.others:
            click.echo(f"  {other} stays")
