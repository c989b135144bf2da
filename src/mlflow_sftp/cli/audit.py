# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp audit`."""

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
    printable,
    readable_size,
)
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.audit import Audit, audit


@click.command("audit", cls=ErrorReportingCommand)
@database_option
@click.argument("root")
@click.option("--store", help="Where ROOT is, if it is mlflow-artifacts:/: the artifacts destination.")
@click.option("--manifest", type=FILE, help="Manifest of a copy to the store, to compare every size.")
@click.option("--working-directory", help="Where relative paths in the database start.")
@click.option("--quarantine", is_flag=True, help="Move what is orphaned aside; nothing is deleted.")
@click.option("--check", is_flag=True, help="Only tell what --quarantine would move.")
@json_option
def audit_command(
    database: Database, root: str, as_json: bool, manifest: Path | None, **options: Any
) -> None:
    """Compare MLflow's database with the files below ROOT, both ways. Exit code 3 if they disagree."""
    found = audit(database, root, manifest=manifest, **options)
    if as_json:
        print_json(found.as_dict())
    else:
        _print_table(found, options["check"])
    if found.problems:
        raise click.exceptions.Exit(EXIT_INCOMPLETE)


def _print_table(found: Audit, check: bool) -> None:
    for problem in found.problems:
        much = f" ({problem.files} files, {readable_size(problem.bytes)})" if problem.files else ""
        click.echo(f"{problem.kind:16}  {printable(problem.path)}{much}: {problem.detail}")
    for path, target in found.quarantined.items():
        click.echo(f"{'would be moved' if check else 'moved':16}  {printable(path)} -> {printable(target)}")
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(found.as_dict()["counts"].items()))
    click.echo(
        f"{found.files} files ({readable_size(found.bytes)}), {found.locations} locations: "
        f"{counts or 'no disagreement'}"
    )
