# SPDX-License-Identifier: Apache-2.0
"""Removing from the server: files, links and whole directories."""

import posixpath
from collections.abc import Awaitable

from mlflow_sftp.errors import NotFoundError, ServerFailureError
from mlflow_sftp.transfer import aside
from mlflow_sftp.transfer.concurrency import for_each, iterate
from mlflow_sftp.transfer.directories import deepest_first
from mlflow_sftp.transfer.listing import Entry, walk
from mlflow_sftp.transfer.remote import Remote, is_missing
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.packets import FX_NO_SUCH_FILE, StatusError
from mlflow_sftp.wire.session import SftpSession

_CHANGES_AT_ONCE = 256
_REMOVAL_PASSES = 3


async def remove(remote: Remote, path: str) -> bool:
    """Remove a file, a link (never its target) or a whole directory; False where there was nothing."""
    operation = f"delete {path}"

    async def look(session: SftpSession) -> bool:
        check = remote.containment_check(session, posixpath.dirname(path) if path != remote.root else path)
        # What stepped aside for a newer file must not come back once that is removed.
        await aside.bring_back(session, encode(path))
        # ProFTPD answers LSTAT for the target of a link, so that alone would delete what a link points to.
        attributes, link = session.lstat(encode(path)), session.readlink(encode(path))
        await check()
        try:
            if not (await attributes).is_directory:
                return False
        except StatusError as error:
            if await is_missing(session, encode(path), error):
                raise StatusError(FX_NO_SUCH_FILE, error.message) from error
            raise
        try:
            await link
        except StatusError:
            return True
        return False

    try:
        is_directory = await remote.attempt(operation, look)
    except NotFoundError:
        return False
    remote.known_directories.forget_all()
    if is_directory:
        await _remove_directory(remote, path)
    else:
        await remote.attempt(operation, lambda session: _unless_missing(session.remove(encode(path))))
    return True


async def _remove_directory(remote: Remote, path: str) -> None:
    for left in reversed(range(_REMOVAL_PASSES)):
        directories = await _remove_files(remote, path)
        try:
            await _remove_empty(remote, directories)
        except ServerFailureError:
            # Something came in meanwhile, or the server skipped entries while others were removed.
            if not left:
                raise
            continue
        return


async def _remove_files(remote: Remote, path: str) -> list[str]:
    """Remove everything below a directory but the directories; return those, itself included."""
    directories = [path]

    async def remove_file(entry: Entry) -> None:
        full = posixpath.join(path, entry.path)
        if entry.is_directory:
            directories.append(full)
            return
        await remote.attempt(f"delete {full}", lambda session: _unless_missing(session.remove(encode(full))))

    await for_each(walk(remote, path, raw=True), remove_file, _changes_at_once)
    return directories


async def _remove_empty(remote: Remote, directories: list[str]) -> None:
    async def remove_empty(directory: str) -> None:
        await remote.attempt(
            f"delete {directory}", lambda session: _unless_missing(session.rmdir(encode(directory)))
        )

    for group in deepest_first(directories):
        await for_each(iterate(group), remove_empty, _changes_at_once)


def _changes_at_once() -> int:
    return _CHANGES_AT_ONCE


async def _unless_missing(answer: Awaitable[None]) -> None:
    try:
        await answer
    except StatusError as error:
        if error.code != FX_NO_SUCH_FILE:
            raise
