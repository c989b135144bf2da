# SPDX-License-Identifier: Apache-2.0
"""What every command shares: JSON of one form, exit codes, errors as one line, text that a terminal can take."""

import errno
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import click

from mlflow_sftp.errors import StorageError

# The version of what `--json` prints. It grows when a name goes or means something else, not when one comes.
CONTRACT = 1
# Done, but something was found or left behind; 1 is a failure, 2 wrong usage.
EXIT_INCOMPLETE = 3
# What a shell reports of a program that SIGINT ended.
EXIT_INTERRUPTED = 130

FILE = click.Path(path_type=Path, dir_okay=False)

_FIRST_REPORT_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 60.0
_WANTS_JSON = "mlflow_sftp.wants_json"


class ErrorReportingCommand(click.Command):
    """A command that reports our own errors as one line, with exit code 1, and with --json as an object as well."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Options are opened while they are parsed: an error there must be reported in the same form.
        ctx.meta[_WANTS_JSON] = ctx.meta.get(_WANTS_JSON, False) or "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StorageError as error:
            if ctx.meta[_WANTS_JSON]:
                print_json({"error": _as_dict(error)})
            raise click.ClickException(printable(str(error))) from error
        except OSError as error:
            # A pipe that nobody reads any more is click's to end quietly.
            if error.errno == errno.EPIPE:
                raise
            raise click.ClickException(printable(str(error))) from error
        except KeyboardInterrupt:
            seen = f"{ctx.command_path}: interrupted before it was done"
            if ctx.meta[_WANTS_JSON]:
                print_json({"error": {"cause": "interrupted", "message": seen, "seen": seen, "remedy": ""}})
            click.echo(f"Error: {seen}", err=True)
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


class ErrorReportingGroup(ErrorReportingCommand, click.Group):
    """A group whose commands report as `ErrorReportingCommand` does."""


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


# Who takes the objects that commands print, instead of standard output.
json_taker: ContextVar[Callable[[dict[str, object]], None] | None] = ContextVar("json_taker", default=None)


def print_json(value: Mapping[str, object]) -> None:
    """Print an object with the version of its form; bytes that are not UTF-8 are escaped as surrogates."""
    take = json_taker.get()
    if take is not None:
        take({"contract": CONTRACT, **value})
        return
    click.echo(json.dumps({"contract": CONTRACT, **value}, indent=2))


@contextmanager
def waiting_reported(doing: str) -> Iterator[None]:
    """Say on standard error, ever less often, what takes so long; `doing` is a phrase ("asking the server X")."""
    started, done = time.monotonic(), threading.Event()

    def report() -> None:
        pause = _FIRST_REPORT_SECONDS
        while not done.wait(pause):
            click.echo(f"still {doing}, for {time.monotonic() - started:.0f} s now", err=True)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def readable_size(count: float) -> str:
    """Bytes for people, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def printable(text: str) -> str:
    """Escape what a terminal or a pipe cannot take: control characters and bytes that are not UTF-8."""
    shown = (each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return "".join(shown).encode("utf-8", "backslashreplace").decode()


def _as_dict(error: StorageError) -> dict[str, object]:
    told = {"cause": error.cause, "message": str(error), "seen": error.seen, "remedy": error.remedy}
    return {**told, "unchanged": True} if error.unchanged else {**told}
