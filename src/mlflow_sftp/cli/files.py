# SPDX-License-Identifier: Apache-2.0
"""The commands about files on one server: check, ls, rm, bench."""

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from mlflow_sftp.cli.output import ErrorReportingCommand, json_option, print_json, printable
from mlflow_sftp.errors import IntegrityError, NotFoundError
from mlflow_sftp.settings import Settings
from mlflow_sftp.storage import SftpStorage
from mlflow_sftp.uri import redact

_LARGE_BYTES = 64 << 20
_LONG_LISTING = 12


@click.command("check", cls=ErrorReportingCommand)
@click.argument("uri")
@json_option
def check_command(uri: str, as_json: bool) -> None:
    """Connect, then write, read, list and delete a probe file.

    The directory is made if it is not there; nothing else stays behind.
    """
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
    _print_report(report, as_json)


@click.command("ls", cls=ErrorReportingCommand)
@click.argument("uri")
@click.option("-r", "--recursive", is_flag=True, help="Everything below, not only the directory itself.")
@json_option
def ls_command(uri: str, recursive: bool, as_json: bool) -> None:
    """List a directory: size, time of last change, name."""
    storage = SftpStorage(uri)
    found = list(storage.walk()) if recursive else storage.list_directory()
    if found is None:
        raise NotFoundError(
            f"list {storage.uri.path}", str(storage.uri.endpoint), "there is no such directory"
        )
    if not found and (file := storage.stat()) and not file.is_directory:
        found = [file._replace(path=os.path.basename(storage.uri.path))]
    if as_json:
        print_json({"entries": [entry._asdict() for entry in sorted(found)]})
        return
    for entry in sorted(found):
        when = "" if entry.mtime is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.mtime))
        size = "?" if entry.size is None else entry.size
        slash = "/" if entry.is_directory else ""
        click.echo(f"{size:>{_LONG_LISTING}} {when or '?':19} {printable(entry.path)}{slash}")


@click.command("rm", cls=ErrorReportingCommand)
@click.argument("uri")
@click.option("-r", "--recursive", is_flag=True, help="Remove a directory with all it holds.")
@json_option
def rm_command(uri: str, recursive: bool, as_json: bool) -> None:
    """Remove a file, a directory, or a link but never what it points to."""
    storage = SftpStorage(uri)
    if storage.uri.path == "/":
        raise click.UsageError("refusing to remove everything: the path is /")
    found = storage.stat()
    if found is not None and found.is_directory and not recursive:
        raise click.UsageError(f"{redact(uri)} is a directory; use --recursive")
    if not storage.remove():
        raise NotFoundError(f"remove {storage.uri.path}", str(storage.uri.endpoint), "there is nothing there")
    if as_json:
        print_json({"removed": redact(uri)})


@click.command("bench", cls=ErrorReportingCommand)
@click.argument("uri")
@click.option("--files", default=500, show_default=True, help="Number of 16 KiB files.")
@click.option("--mebibytes", default=_LARGE_BYTES >> 20, show_default=True, help="Size of the large file.")
@json_option
def bench_command(uri: str, files: int, mebibytes: int, as_json: bool) -> None:
    """Measure this server: many small files and a large one, up and down.

    It does so in a scratch directory below URI, which is removed.
    """
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
    _print_report(report, as_json)


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


def _print_report(report: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    for name, value in report.items():
        click.echo(f"{name:20} {value}")
