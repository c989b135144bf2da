# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp migrate`."""

import re
import sys
import time
from typing import Any

import click

from mlflow_sftp import migrate
from mlflow_sftp.cli_parts import EXIT_LEFT, FILE, Reporting, json_option, print_json, readable_size


def _bytes_a_second(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", value)
    if match is None or not float(match[1]):
        raise click.BadParameter("give bytes a second above 0, as 500k, 10M or 1.5G", ctx, param)
    return float(match[1]) * 1024.0 ** " kMG".index(match[2] or " ")


@click.command("migrate", cls=Reporting)
@click.argument("source")
@click.argument("target")
@click.option("--manifest", type=FILE, help="Remember here what is done: a later call only does the rest.")
@click.option("--include", multiple=True, help="Directory below SOURCE to keep to; repeatable.")
@click.option(
    "--verify",
    type=click.Choice(["sha256", "size"]),
    default="sha256",
    show_default=True,
    help="sha256 reads every file back; size only compares sizes.",
)
@click.option("--bwlimit", "bandwidth", callback=_bytes_a_second, help="Bytes a second at most: 500k, 10M.")
@click.option("--check", is_flag=True, help="Only tell what would be done.")
@json_option
def migrate_command(source: str, target: str, as_json: bool, **options: Any) -> None:
    """Copy a whole store and prove it; SOURCE and TARGET are directories, each a path or an sftp:// URI.

    Nothing is ever deleted. Exit code 3 if some files could not be copied.
    """
    report = migrate.copy(source, target, on_progress=_ProgressLines(), **options)
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
        click.echo(f"not copied: {path}: {reason}", err=True)
    if report.failed:
        raise click.exceptions.Exit(EXIT_LEFT)


class _ProgressLines:
    """Progress on standard error: one changing line on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._interval = 0.2 if self._terminal else 10.0
        self._next = time.monotonic() + self._interval

    def __call__(self, progress: migrate.Progress) -> None:
        now = time.monotonic()
        finished = progress.files == progress.total_files
        if now < self._next and not (self._terminal and finished):
            return
        self._next = now + self._interval
        left = progress.seconds_left
        text = (
            f"{progress.files}/{progress.total_files} files, {readable_size(progress.bytes)}/"
            f"{readable_size(progress.total_bytes)}, {readable_size(progress.rate)}/s"
        ) + ("" if left is None else f", {left:.0f} s left")
        start, end = ("\r\x1b[K", finished) if self._terminal else ("", True)
        click.echo(f"{start}{text}", nl=end, err=True)
