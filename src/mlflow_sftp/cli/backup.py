# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp backup`."""

from pathlib import Path

import click

from mlflow_sftp.cli.database_option import database_option
from mlflow_sftp.cli.output import (
    FILE,
    ErrorReportingCommand,
    json_option,
    print_json,
    readable_size,
    waiting_reported,
)
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_backup import back_up


@click.command("backup", cls=ErrorReportingCommand)
@database_option
@click.argument("target", type=FILE)
@json_option
def backup_command(database: Database, target: Path, as_json: bool) -> None:
    """Write a complete copy of MLflow's database to the file TARGET.

    Its mode is 0600, and MLflow may go on writing. SQLite: a database of its own. PostgreSQL: what pg_dump writes in
    its custom format.
    """
    with waiting_reported(f"backing up {database.name}"):
        size = back_up(database, target)
    if as_json:
        print_json({"database": database.name, "file": str(target), "bytes": size})
    else:
        click.echo(f"{target}: {readable_size(size)}")
