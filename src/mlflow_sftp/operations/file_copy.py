# SPDX-License-Identifier: Apache-2.0
"""Bringing one file from a store to another: within this machine, up, down, or across from server to server.

FileProblemError where it is about this file; whatever stops every file is raised as it is.
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from mlflow_sftp.errors import (
    LocalError,
)
from mlflow_sftp.stores.base import ABOUT_ONE_FILE, FileProblemError
from mlflow_sftp.stores.local import LocalStore, copy_local, write_error, write_errors
from mlflow_sftp.stores.open_store import Store
from mlflow_sftp.stores.rate_limit import RateLimiter
from mlflow_sftp.stores.sftp import SftpStore
from mlflow_sftp.transfer.download import get_file
from mlflow_sftp.transfer.progress import OnBytes, ignore_bytes
from mlflow_sftp.transfer.upload import put_file

# By its path relative to both stores; `on_bytes(count)` is called on the event loop.
CopyFile = Callable[[str, OnBytes], Awaitable[None]]


def file_copier(source: Store, target: Store, limiter: RateLimiter) -> CopyFile:
    """The function that brings a file from `source` to `target`, in full or not at all."""
    if isinstance(source, LocalStore):
        if isinstance(target, LocalStore):
            return partial(_copy_within, source, target, limiter)
        return partial(_copy_up, source, target)
    if isinstance(target, LocalStore):
        return partial(_copy_down, source, target)
    return partial(_copy_across, source, target)


async def _copy_within(
    source: LocalStore, target: LocalStore, limiter: RateLimiter, path: str, on_bytes: OnBytes
) -> None:
    loop = asyncio.get_running_loop()
    interrupted = False

    def report(size: int) -> None:
        if interrupted:
            raise InterruptedError
        loop.call_soon_threadsafe(on_bytes, size)

    work = asyncio.to_thread(copy_local, source.path(path), target.path(path), limiter, report)
    copying = asyncio.ensure_future(work)
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        # A thread is not cancelled: it has to end by itself, and to remove its temporary file.
        interrupted = True
        await asyncio.wait({copying})
        copying.exception()  # Marks it as seen.
        raise


async def _copy_up(source: LocalStore, target: SftpStore, path: str, on_bytes: OnBytes) -> None:
    try:
        with _server_errors("at the target: "):
            await put_file(target.remote, source.path(path), target.path(path), on_bytes)
    except LocalError as error:
        raise FileProblemError(error.seen) from error


async def _copy_down(source: SftpStore, target: LocalStore, path: str, on_bytes: OnBytes) -> None:
    destination = target.path(path)
    if not path:
        with write_errors(destination):
            os.makedirs(os.path.dirname(destination), exist_ok=True)
    try:
        with _server_errors():
            await get_file(source.remote, source.path(path), destination, on_bytes)
    except LocalError as error:
        if isinstance(error.__cause__, OSError):
            raise write_error(destination, error.__cause__) from error
        raise


async def _copy_across(source: SftpStore, target: SftpStore, path: str, on_bytes: OnBytes) -> None:
    with tempfile.TemporaryDirectory(prefix="mlflow-sftp-") as directory:
        passing = f"{directory}/file"
        with _server_errors():
            await get_file(source.remote, source.path(path), passing, ignore_bytes)
        with _server_errors("at the target: "):
            await put_file(target.remote, passing, target.path(path), on_bytes)


@contextmanager
def _server_errors(where: str = "") -> Iterator[None]:
    try:
        yield
    except ABOUT_ONE_FILE as error:
        raise FileProblemError(f"{where}{error.seen}") from error
