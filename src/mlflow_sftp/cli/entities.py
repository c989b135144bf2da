# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp entities`."""

import json
from pathlib import Path

import click

from mlflow_sftp.cli.output import (
    EXIT_INCOMPLETE,
    FILE,
    ErrorReportingCommand,
    json_option,
    print_json,
    printable,
    waiting_reported,
)
from mlflow_sftp.cli.tracking_option import tracking_option
from mlflow_sftp.database.durable_file import replaced_file
from mlflow_sftp.operations.entities import Entities, differences, entities
from mlflow_sftp.operations.round_trip import RoundTrip, translate_errors
from mlflow_sftp.uri import redact


@click.command("entities", cls=ErrorReportingCommand)
@click.argument("file", type=FILE)
@tracking_option
@click.option("--compare", is_flag=True, help="Compare with what FILE holds, instead of writing it.")
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="Of each kind.")
@json_option
def entities_command(file: Path, tracking_uri: str, compare: bool, most: int, as_json: bool) -> None:
    """Write what MLflow tells of runs, models and traces to FILE, or compare.

    Of each kind some: of runs and traces the oldest and the newest. Exit code 3 if something of what the file holds is
    told otherwise, or not any more.
    """
    before = _read(file) if compare else None
    problems: list[str] = []
    with waiting_reported(f"asking {redact(tracking_uri)}"):
        RoundTrip(tracking_uri).reach()
        with translate_errors("asking for runs, models and traces"):
            if before is not None:
                problems = differences(before, tracking_uri)
            else:
                found = entities(tracking_uri, most)
    if before is None:
        with replaced_file(file) as temporary:
            temporary.write_text(json.dumps(found, default=str))
    counts = {kind: len(known) for kind, known in (before or found).items()}
    if as_json:
        print_json({"file": str(file), "counts": counts, "problems": problems})
    else:
        for problem in problems:
            click.echo(printable(problem))
        named = ", ".join(f"{count} {kind}s" for kind, count in counts.items())
        click.echo(f"{named}: {len(problems)} problems" if compare else named)
    if problems:
        raise click.exceptions.Exit(EXIT_INCOMPLETE)


def _read(file: Path) -> Entities:
    try:
        held: Entities = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{file}: {error}") from error
    return held
