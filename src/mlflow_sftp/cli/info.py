# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp info`."""

from typing import TYPE_CHECKING, Any

import click

from mlflow_sftp.cli.database_option import optional_database_option
from mlflow_sftp.cli.output import (
    ErrorReportingCommand,
    json_option,
    print_json,
    printable,
    readable_size,
    waiting_reported,
)
from mlflow_sftp.operations.store_inventory import space_info, store_info

if TYPE_CHECKING:
    from mlflow_sftp.database.database import Database


@click.command("info", cls=ErrorReportingCommand)
@click.argument("store", required=False)
@optional_database_option
@click.option(
    "--space",
    "only_space",
    is_flag=True,
    help="Tell only what space there is, and what the database takes: nothing is counted.",
)
@click.option("--names", is_flag=True, help="Name every file of the store as well.")
@click.option("--rows", is_flag=True, help="Of the database, count the rows of every table as well (--json).")
@json_option
def info_command(
    store: str | None,
    database: "Database | None",
    only_space: bool,
    names: bool,
    rows: bool,
    as_json: bool,
) -> None:
    """Tell what a store and MLflow's database hold, in numbers.

    STORE is a path or an sftp:// URI. Nothing is changed.
    """
    if store is None and database is None:
        raise click.UsageError("name a store, a database (--database), or both")
    found: dict[str, dict[str, Any]] = {}
    if store is not None:
        found["store"] = space_info(store) if only_space else store_info(store, with_names=names)
    if database is not None:
        # Imported here: a store alone is counted without what reads databases.
        from mlflow_sftp.operations.database_inventory import database_info, size_info

        with waiting_reported(f"reading {database.name}"):
            found["database"] = size_info(database) if only_space else database_info(database, rows=rows)
    if as_json:
        print_json(found)
        return
    if "store" in found:
        _print_store(found["store"])
    if "database" in found:
        _print_database(found["database"])


def _print_store(found: dict[str, Any]) -> None:
    free = found["free_bytes"]
    free_space = "the server does not tell what is free" if free is None else f"{readable_size(free)} free"
    if "files" not in found:
        click.echo(f"{found['store']}: {free_space}")
        return
    holds = (
        f"{found['files']} files ({readable_size(found['bytes'])})" if found["exists"] else "not there yet"
    )
    click.echo(f"{found['store']}: {holds}, {free_space}")
    for path in found.get("names", ()):
        click.echo(printable(path))
    for path, reason in found["unreadable"].items():
        click.echo(f"unreadable: {printable(path)}: {reason}", err=True)


def _print_database(found: dict[str, Any]) -> None:
    if "counts" not in found:
        click.echo(f"{found['database']}: {readable_size(found['bytes'])}")
        return
    click.echo(found["database"])
    for name, stages in found["counts"].items():
        parts = ", ".join(f"{count} {stage}" for stage, count in stages.items() if stage != "total")
        click.echo(f"{stages['total']:12} {name}" + (f" ({parts})" if parts else ""))
    for place in found["places"]:
        click.echo(f"{place['locations']:12} locations at {place['place']}, below {place['path']}")
