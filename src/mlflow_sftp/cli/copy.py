# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp copy`."""

import importlib.util
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mlflow_sftp.cli.output import (
    EXIT_INCOMPLETE,
    FILE,
    ErrorReportingCommand,
    json_option,
    print_json,
    readable_size,
)
from mlflow_sftp.operations.copy import OnProgress, Progress, copy
from mlflow_sftp.operations.progress_file import ProgressFile
from mlflow_sftp.uri import redact

_SECONDS_BETWEEN_LINES, _SECONDS_BETWEEN_FRAMES = 10.0, 0.1


def _bytes_a_second(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", value)
    if match is None or not float(match[1]):
        raise click.BadParameter("give bytes a second above 0, as 500k, 10M or 1.5G", ctx, param)
    return float(match[1]) * 1024.0 ** " kMG".index(match[2] or " ")


def _paths(ctx: click.Context, param: click.Parameter, value: Path | None) -> tuple[str, ...]:
    if value is None:
        return ()
    try:
        paths = json.loads(value.read_text())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{value}: {error}", ctx, param) from error
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise click.BadParameter(f"{value}: expected a list of paths", ctx, param)
    return tuple(paths)


@click.command("copy", cls=ErrorReportingCommand)
@click.argument("source")
@click.argument("target")
@click.option("--manifest", type=FILE, help="Remember here what is done: a later call only does the rest.")
@click.option("--include", multiple=True, help="Directory below SOURCE to keep to; repeatable.")
@click.option("--exclude", multiple=True, help="Directory below SOURCE to leave out; repeatable.")
@click.option(
    "--include-from", type=FILE, callback=_paths, help="JSON file with a list of further --include."
)
@click.option(
    "--exclude-from", type=FILE, callback=_paths, help="JSON file with a list of further --exclude."
)
@click.option(
    "--for-mlflow", is_flag=True, help="Leave out, and name, what MLflow's local store could not read."
)
@click.option(
    "--verify",
    type=click.Choice(["sha256", "size"]),
    default="sha256",
    show_default=True,
    help="sha256 reads every file back; size only compares sizes.",
)
@click.option("--bwlimit", "bandwidth", callback=_bytes_a_second, help="Bytes a second at most: 500k, 10M.")
@click.option(
    "--progress-file",
    type=FILE,
    help="Write here, as JSON about once a second, how far the copy is: files, bytes, seconds.",
)
@click.option(
    "--trust-target",
    is_flag=True,
    help="Take TARGET for what the last complete copy with this manifest left, and list of it only what is touched.",
)
@click.option(
    "--only-missing", is_flag=True, help="Bring only files that TARGET lacks: others stay as they are there."
)
@click.option("--check", is_flag=True, help="Only tell what would be done.")
@json_option
def copy_command(
    source: str,
    target: str,
    include: tuple[str, ...],
    include_from: tuple[str, ...],
    exclude: tuple[str, ...],
    exclude_from: tuple[str, ...],
    progress_file: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Copy a file, or all that a directory holds, and prove it.

    Each side is a path or an sftp:// URI; TARGET names the copy itself. Nothing is ever deleted. What is there
    already is compared, not sent, and a large file that was interrupted goes on where it stopped. Exit code 3 if some
    files could not be copied.
    """
    if options["trust_target"] and options["manifest"] is None:
        raise click.UsageError("--trust-target needs --manifest, which says how the last copy left TARGET")
    with _progress(None if options["check"] else progress_file) as on_progress:
        report = copy(
            source,
            target,
            include=include + include_from,
            exclude=exclude + exclude_from,
            on_progress=on_progress,
            **options,
        )
    if as_json:
        print_json(report.as_dict())
    else:
        would = "would be " if options["check"] else ""
        click.echo(
            f"{report.copied.files} files ({readable_size(report.copied.bytes)}) {would}copied, "
            f"{report.equal.files} {would}compared, {report.total.files} in all "
            f"({readable_size(report.total.bytes)}), {report.seconds:.1f} s"
        )
    for path, reason in report.as_dict()["failed"].items():
        click.echo(f"not copied: {path or redact(source)}: {reason}", err=True)
    if report.failed:
        raise click.exceptions.Exit(EXIT_INCOMPLETE)


@contextmanager
def _progress(file: Path | None) -> Iterator[OnProgress]:
    """Progress on standard error, and in a file for another program."""
    with _shown_progress() as show:
        if file is None:
            yield show
            return
        with ProgressFile(file) as write:

            def show_and_write(progress: Progress) -> None:
                show(progress)
                write(progress)

            yield show_and_write


@contextmanager
def _shown_progress() -> Iterator[OnProgress]:
    """A bar on a terminal where rich is installed, otherwise a line now and then."""
    if not (sys.stderr.isatty() and importlib.util.find_spec("rich")):
        yield _every(
            _SECONDS_BETWEEN_LINES, lambda progress: click.echo(_format_progress(progress), err=True)
        )
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = BarColumn(), TextColumn("{task.description}")
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("listing", total=None)

        def show(progress: Progress) -> None:
            bars.update(bar, total=1.0, completed=progress.share, description=_format_progress(progress))

        yield _every(_SECONDS_BETWEEN_FRAMES, show)


def _every(seconds: float, show: OnProgress) -> OnProgress:
    due = time.monotonic() + seconds

    def on_progress(progress: Progress) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due:
            due = now + seconds
            show(progress)

    return on_progress


def _format_progress(progress: Progress) -> str:
    left = progress.seconds_left
    return (
        f"{progress.files}/{progress.total_files} files, {readable_size(progress.bytes)}/"
        f"{readable_size(progress.total_bytes)}, {readable_size(progress.rate)}/s"
    ) + ("" if left is None else f", {left:.0f} s left")
