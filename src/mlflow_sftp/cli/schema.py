# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp schema`."""

import click

from mlflow_sftp.cli.database_option import missing_database_option
from mlflow_sftp.cli.output import ErrorReportingCommand, json_option, print_json, printable
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_schema import Schema, login_schema_of, schema, schema_of


@click.command("schema", cls=ErrorReportingCommand)
@missing_database_option
@click.option("--revision", help="Compare a database of this revision, such as a backup's, instead.")
@json_option
def schema_command(database: Database, revision: str | None, as_json: bool) -> None:
    """Compare the database's schema with the MLflow that is installed.

    Changes nothing. empty: no tables yet. current: this MLflow works with it. behind: `mlflow-sftp migrate` is due.
    unknown: this MLflow does not know it, being older itself. several: it has more than one revision. broken: a
    migration died in it.
    """
    found = schema(database) if revision is None else schema_of(revision)
    if as_json:
        # Of another database, nobody knows.
        login = {"login": login_schema_of(database)} if revision is None else {}
        print_json({**found.as_dict(), **login})
    else:
        click.echo(_described(found))


def _described(found: Schema) -> str:
    there = ", ".join(printable(revision) for revision in found.database) or "no revision"
    text = f"{found.state}: the database has {there}, MLflow {found.mlflow} {', '.join(found.heads)}"
    if found.steps:
        text += f", {found.steps} further on"
    if found.left_over:
        text += f"; left over: {', '.join(printable(table) for table in found.left_over)}"
    return text
