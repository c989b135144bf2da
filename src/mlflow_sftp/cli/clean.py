# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp clean`."""

import click

from mlflow_sftp.cli.output import ErrorReportingCommand, json_option, print_json, printable, readable_size
from mlflow_sftp.operations.clean import SECONDS_BETWEEN_LOOKS, clean


@click.command("clean", cls=ErrorReportingCommand)
@click.argument("store")
@click.option(
    "--hours", type=click.FloatRange(min=0), help="Age at least; by default MLFLOW_SFTP_LEFTOVER_HOURS."
)
@click.option(
    "--watch",
    "seconds_between_looks",
    type=click.FloatRange(min=0),
    default=SECONDS_BETWEEN_LOOKS,
    show_default=True,
    help="Seconds for which nothing of a file may change.",
)
@click.option("--check", is_flag=True, help="Only tell what would be removed.")
@json_option
def clean_command(
    store: str, hours: float | None, seconds_between_looks: float, check: bool, as_json: bool
) -> None:
    """Remove the temporary files of transfers that died below STORE.

    STORE is a path or an sftp:// URI. Age counts by the clock of the store itself. What is too young, of unknown age
    or still changing stays.
    """
    report = clean(store, hours=hours, seconds_between_looks=seconds_between_looks, check=check)
    if as_json:
        print_json(report.as_dict())
        return
    click.echo(
        f"{report.removed.files} temporary files ({readable_size(report.removed.bytes)}) "
        f"{'would be ' if check else ''}removed, {len(report.kept)} stay"
    )
    for path, reason in {**report.kept, **report.unreadable}.items():
        click.echo(f"stays: {printable(path)}: {reason}", err=True)
