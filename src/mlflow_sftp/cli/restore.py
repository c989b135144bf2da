# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp restore`."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from mlflow_sftp.cli.database_option import missing_database_option
from mlflow_sftp.cli.output import (
    ErrorReportingCommand,
    json_option,
    json_taker,
    print_json,
    readable_size,
    waiting_reported,
)
from mlflow_sftp.database.database import Database
from mlflow_sftp.operations.database_restore import restore

_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
_STANDARD_INPUT = Path("-")


@click.command("restore", cls=ErrorReportingCommand)
@missing_database_option
@click.argument("file", type=_FILE)
@json_option
def restore_command(database: Database, file: Path, as_json: bool) -> None:
    """Give MLflow's database the content of the backup FILE.

    FILE is what `mlflow-sftp backup` wrote, or - for standard input. Stop the MLflow server first. What the database
    holds now is gone afterwards, of whatever version it is; a journal that a killed server left goes with it. A file
    that is no whole backup is refused. Whatever stops it, the database is the old one or the backup's.
    """
    with _on_disk(file) as backup, waiting_reported(f"restoring {database.name}"):
        done = restore(database, backup)
    if as_json:
        print_json(
            {"database": database.name, "file": str(file), "revision": done.revision, "bytes": done.bytes}
        )
    else:
        click.echo(f"{database.name}: revision {done.revision}, {readable_size(done.bytes)}")


@contextlib.contextmanager
def _on_disk(file: Path) -> Iterator[Path]:
    """The file itself, or a private one of what comes on standard input: it is read more than once."""
    if file != _STANDARD_INPUT:
        yield file
        return
    if json_taker.get() is not None:
        raise click.UsageError("standard input is where mlflow-sftp serve reads commands: name a file")
    with tempfile.TemporaryDirectory(prefix="mlflow-sftp-restore-") as directory:
        backup = Path(directory) / "standard-input"
        with backup.open("xb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target, 1 << 20)
        yield backup
