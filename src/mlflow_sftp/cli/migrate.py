# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp migrate`."""

import click

from mlflow_sftp.cli.database_option import database_option
from mlflow_sftp.cli.output import (
    ErrorReportingCommand,
    json_option,
    print_json,
    readable_size,
    waiting_reported,
)
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_migration import migrate


@click.command("migrate", cls=ErrorReportingCommand)
@database_option
@json_option
def migrate_command(database: Database, as_json: bool) -> None:
    """Bring the database to the schema of the MLflow that is installed.

    Stop the MLflow server first, and make a backup: there is no way back but to restore it. SQLite: a copy beside the
    file is migrated, proved and put in place. PostgreSQL: in one transaction. Whatever stops it, the database is the
    old one or the new one.
    """
    with waiting_reported(f"migrating {database.name}"):
        done = migrate(database)
    if as_json:
        print_json(done.as_dict())
    elif done.before == done.after:
        click.echo(f"Nothing to do: the database is at {done.after}.")
    else:
        size = readable_size(done.bytes)
        click.echo(f"{done.before} -> {done.after} in {done.seconds:.1f} s, {size}")
