# SPDX-License-Identifier: Apache-2.0
"""`mlflow-sftp serve`: many commands in one process, for a caller who cannot wait for Python to start each time."""

import contextlib
import io
import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from mlflow_sftp.cli import output


@click.command("serve", cls=output.ErrorReportingCommand)
@click.option("--preload", multiple=True, help="Command to import before the first line is read; repeatable.")
def serve_command(preload: tuple[str, ...]) -> None:
    """Carry out commands that come as lines of JSON, and answer likewise.

    A line is a list, what would follow `mlflow-sftp` (["info", "/mlruns", "--json"]); the answer, one line, is
    {"exit": the exit code, "result": the object that the command prints with --json or null, "errors": standard
    error}. The first line of all is {"ready": true}. It ends at the end of standard input.
    """
    answers = sys.stdout
    _import(preload)
    _answer(answers, {"ready": True})
    for line in sys.stdin:
        _answer(answers, _carry_out([str(word) for word in json.loads(line)]))


def _import(commands: Iterable[str]) -> None:
    from mlflow_sftp.cli.main import main

    for name in commands:
        # What the command imports; its help imports the command.
        with contextlib.redirect_stdout(io.StringIO()):
            main.main([name, "--help"], prog_name="mlflow-sftp", standalone_mode=False)


def _carry_out(arguments: list[str]) -> dict[str, Any]:
    from mlflow_sftp.cli.main import main

    results: list[dict[str, object]] = []
    errors = io.StringIO()
    taken = output.json_taker.set(results.append)
    try:
        # MLflow prints to both as it likes.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            code = _exit_code(main, arguments)
    finally:
        output.json_taker.reset(taken)
    return {"exit": code, "result": results[-1] if results else None, "errors": errors.getvalue()}


def _exit_code(main: click.Command, arguments: list[str]) -> int:
    """Run one command as a shell would, and return what the shell would see."""
    try:
        main.main(arguments, prog_name="mlflow-sftp")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except Exception as error:
        # A fault of ours is one command's, and the caller's to report.
        click.echo(f"{type(error).__name__}: {error}", err=True)
        return 1
    return 0


def _answer(answers: Any, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()
