# SPDX-License-Identifier: Apache-2.0
"""The `mlflow-sftp` program. Exit codes: 0 done, 1 failed (the reason is on stderr), 2 wrong usage."""

import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mlflow_sftp.cli.storage_cli import storage_commands
from mlflow_sftp.errors import IntegrityError, NotFoundError, SftpError
from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.uri import redact

_LARGE_BYTES = 64 << 20
_LONG_LISTING = 12


class _Program(click.Group):
    """Reports errors in one line; adds the commands about whole stores, whose imports take a second, on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *storage_commands.list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or storage_commands.get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SftpError as error:
            raise click.ClickException(_printable(str(error))) from error


@click.group(cls=_Program)
@click.version_option(package_name="mlflow-sftp")
def main() -> None:
    """Artifacts on an SFTP server: check, list, copy, remove, measure.

    URI is sftp://[user@]host[:port]/path. Host, key and known hosts come from the OpenSSH client configuration,
    everything else from MLFLOW_SFTP_* variables.
    """


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@main.command()
@click.argument("uri")
@_as_json
def check(uri: str, as_json: bool) -> None:
    """Connect, then write, read, list and delete a probe file; nothing stays behind."""
    storage = SftpStorage(uri, replace(Settings.from_environment(), retry_timeout=0.01))
    report: dict[str, object] = {"uri": redact(uri)}
    with _timed(report, "connect"):
        report |= storage.connect()
    probe, content = f".mlflow-sftp-check-{secrets.token_hex(8)}", secrets.token_bytes(4096)
    try:
        with _timed(report, "write"), _scratch(content) as file:
            storage.upload(file, probe)
        with _timed(report, "read"):
            _require_same(storage, probe, content)
        with _timed(report, "list"):
            report["entries"] = len(storage.list_directory() or [])
    finally:
        with _timed(report, "delete"):
            storage.remove(probe)
    _show(report, as_json, lambda: [f"{name:20} {value}" for name, value in report.items()])


@main.command()
@click.argument("uri")
@click.option("-r", "--recursive", is_flag=True, help="Everything below, not only the directory itself.")
@_as_json
def ls(uri: str, recursive: bool, as_json: bool) -> None:
    """List a directory: size, time of last change, name."""
    storage = SftpStorage(uri)
    found = list(storage.walk()) if recursive else storage.list_directory()
    if found is None:
        raise NotFoundError(
            f"list {storage.uri.path}", str(storage.uri.endpoint), "there is no such directory"
        )
    if not found and (file := storage.stat()) and not file.is_directory:
        found = [file._replace(path=os.path.basename(storage.uri.path))]
    entries = [entry._asdict() for entry in sorted(found)]

    def lines() -> Iterator[str]:
        for entry in sorted(found):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.mtime))
            slash = "/" if entry.is_directory else ""
            yield f"{entry.size:>{_LONG_LISTING}} {when} {_printable(entry.path)}{slash}"

    _show(entries, as_json, lines)


@main.command()
@click.argument("uri")
@click.option("-r", "--recursive", is_flag=True, help="Remove a directory with all it holds.")
@_as_json
def rm(uri: str, recursive: bool, as_json: bool) -> None:
    """Remove a file, or a link but never what it points to."""
    storage = SftpStorage(uri)
    if storage.uri.path == "/":
        raise click.UsageError("refusing to remove everything: the path is /")
    found = storage.stat()
    if found is not None and found.is_directory and not recursive:
        raise click.UsageError(f"{redact(uri)} is a directory; use --recursive")
    if not storage.remove():
        raise NotFoundError(f"remove {storage.uri.path}", str(storage.uri.endpoint), "there is nothing there")
    _show({"removed": redact(uri)}, as_json, lambda: [])


@main.command()
@click.argument("uri")
@click.option("--files", default=500, show_default=True, help="Number of 16 KiB files.")
@click.option("--mebibytes", default=_LARGE_BYTES >> 20, show_default=True, help="Size of the large file.")
@_as_json
def bench(uri: str, files: int, mebibytes: int, as_json: bool) -> None:
    """Measure this server: many small files and a large one, up and down, in a scratch directory below URI."""
    scratch = f"mlflow-sftp-bench-{secrets.token_hex(8)}"
    storage = SftpStorage(f"{uri.rstrip('/')}/{scratch}")
    report: dict[str, object] = {}
    with _timed(report, "connect"):
        report |= storage.connect()
    with tempfile.TemporaryDirectory() as local:
        small, large = Path(local, "small"), Path(local, "large")
        small.mkdir()
        for number in range(files):
            (small / f"{number}.bin").write_bytes(os.urandom(16 << 10))
        large.write_bytes(os.urandom(1 << 20) * mebibytes)
        try:
            with _timed(report, f"{files} files up"):
                storage.upload_tree(str(small), "small")
            with _timed(report, f"{files} files listed"):
                storage.list_directory("small")
            with _timed(report, f"{files} files down"):
                storage.download_tree("small", str(Path(local, "down")))
            with _timed(report, f"{mebibytes} MiB up"):
                storage.upload(str(large), "large")
            with _timed(report, f"{mebibytes} MiB down"):
                storage.download("large", str(large))
        finally:
            with _timed(report, "deleted"):
                storage.remove()
    _show(report, as_json, lambda: [f"{name:20} {value}" for name, value in report.items()])


def _require_same(storage: SftpStorage, path: str, content: bytes) -> None:
    with _scratch(b"") as file:
        storage.download(path, file)
        if Path(file).read_bytes() != content:
            raise IntegrityError(
                f"check {path}", str(storage.uri.endpoint), "other bytes came back than were sent"
            )


@contextmanager
def _scratch(content: bytes) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "probe")
        file.write_bytes(content)
        yield str(file)


@contextmanager
def _timed(report: dict[str, object], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    report[f"{name}, s"] = round(time.monotonic() - started, 3)


def _show(value: object, as_json: bool, lines: Callable[[], Any]) -> None:
    if as_json:
        click.echo(json.dumps(value, indent=2))
        return
    for line in lines():
        click.echo(line)


def _printable(text: str) -> str:
    """Escape what a terminal or a pipe cannot take: control characters and bytes that are not UTF-8."""
    shown = (each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return "".join(shown).encode("utf-8", "backslashreplace").decode()
