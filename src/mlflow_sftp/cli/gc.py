# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp gc`."""

import os
import select
import sys
import threading
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
@click.option(
    "--before",
    type=float,
    help="Keep what was deleted later, in seconds since 1970: a backup from then may be restored.",
)
@click.option("--removed", type=FILE, help="File to note what went in, for mlflow-sftp prune.")
@click.option("--check", is_flag=True, help="Only count.")
@click.option(
    "--while-input", is_flag=True, help="End at once when standard input is closed, as whoever asked is gone."
)
@json_option
def gc_command(
    database: Database,
    tracking_uri: str,
    days: float,
    journal: Path,
    destination: str | None,
    before: float | None,
    removed: Path | None,
    check: bool,
    while_input: bool,
    as_json: bool,
) -> None:
    """Remove for good what users deleted long ago in MLflow, rows and artifacts.

    Those are runs, logged models and experiments. What is restored meanwhile stays, and so does what a version of a
    registered model leads to.
    """
    if while_input:
        end_with_input()
    shorten_waits(sftp=5, http=20)
    collected = collect(
        database,
        tracking_uri,
        days=days,
        journal=journal,
        destination=destination,
        before=before,
        removed=removed,
        check=check,
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


def end_with_input() -> None:
    """From now on, end this process once nobody holds the other end of standard input any more.

    It ends as if it were killed: what is gone on with then belongs to whoever takes over.
    """
    threading.Thread(target=_await_end_of_input, daemon=True).start()


def _await_end_of_input() -> None:
    poll = select.poll()
    # Nothing but the end is waited for: what comes meanwhile is the next command.
    poll.register(sys.stdin.fileno(), 0)
    poll.poll()
    os._exit(1)
