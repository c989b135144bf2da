# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp roundtrip`."""

from typing import TYPE_CHECKING, Any

import click

from mlflow_sftp.cli.database_option import optional_database_option
from mlflow_sftp.cli.output import ErrorReportingCommand, json_option, print_json, waiting_reported
from mlflow_sftp.cli.tracking_option import tracking_option
from mlflow_sftp.errors import StorageError
from mlflow_sftp.operations.client_waits import shorten_waits
from mlflow_sftp.operations.round_trip import RoundTrip
from mlflow_sftp.uri import redact

if TYPE_CHECKING:
    from mlflow_sftp.database.database import Database


@click.command("roundtrip", cls=ErrorReportingCommand)
@tracking_option
@click.option(
    "--experiment", help="Name of the experiment, which is made if it is not there; by default a new one."
)
@click.option("--size", default=1 << 20, show_default=True, help="Bytes of the largest file.")
@click.option(
    "--access", type=click.Choice(["direct", "proxied"]), help="Fail if clients reach artifacts otherwise."
)
@click.option(
    "--earlier-runs", is_flag=True, help="See as well that the server can read what was stored before."
)
@click.option("--keep", is_flag=True, help="Leave the run, if the round trip succeeds.")
@click.option(
    "--purge", "purges", is_flag=True, help="Remove for good what round trips left; needs --database."
)
@click.option("--destination", help="The server's artifacts destination, for --purge in proxied access.")
@optional_database_option
@json_option
def round_trip_command(
    tracking_uri: str,
    experiment: str | None,
    size: int,
    access: str | None,
    earlier_runs: bool,
    keep: bool,
    purges: bool,
    destination: str | None,
    database: "Database | None",
    as_json: bool,
) -> None:
    """Log, list, download and compare artifacts through MLflow. They are deleted again."""
    if purges and database is None:
        raise click.UsageError("--purge removes rows of MLflow's database: name it with --database")
    shorten_waits(sftp=5, http=20)
    trip = RoundTrip(tracking_uri)
    with waiting_reported(f"making a round trip through {redact(tracking_uri)}"):
        trip.reach()
        files = _make(trip, experiment, access, size, keep)
        if not keep:
            trip.remove()
        if earlier_runs:
            trip.check_earlier_runs()
    report: dict[str, Any] = {
        "run_id": trip.run and trip.run.info.run_id,
        "artifact_uri": trip.artifact_uri,
        "access": trip.access,
        "kept": keep,
        "files": files,
        "seconds": trip.seconds,
    }
    if purges and database is not None:
        from mlflow_sftp.operations.purge import purge

        report["purged"] = purge(database, tracking_uri, destination=destination)._asdict()
    if as_json:
        print_json(report)
        return
    steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in trip.seconds.items())
    click.echo(
        f"{len(files)} files came back as they were, by {trip.access} access, at {trip.artifact_uri}: {steps}"
    )


def _make(
    trip: RoundTrip, experiment: str | None, access: str | None, size: int, keep: bool
) -> list[dict[str, Any]]:
    """Log and compare; what was logged goes if that fails, and the first failure is the one to report."""
    try:
        trip.start(experiment, access, keep=keep)
        files = trip.log(size)
        trip.check(files)
    except StorageError:
        try:
            trip.remove()
        except StorageError as second:
            click.echo(f"left behind: {second.seen}", err=True)
        raise
    return [file._asdict() for file in files]
