# SPDX-License-Identifier: Apache-2.0
"""Bringing what was written to the server's disk before the file gets its name: a machine that restarts loses the rest.

`fsync@openssh.com`, where it is announced. That a server refuses it is remembered; that its disk is full or broken
fails the upload.
"""

import asyncio
import posixpath
import re
from contextlib import suppress
from typing import Literal

from mlflow_sftp.transfer import temporary_names
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.wire.packets import CREATE, EXCLUSIVE, FX_FAILURE, WRITE, StatusError
from mlflow_sftp.wire.server_traits import ServerTraits
from mlflow_sftp.wire.session import SftpSession

_DISK_WORDS = re.compile(r"\b(space|quota|i/o|input/output|disk)\b", re.IGNORECASE)


def names_the_disk(error: StatusError) -> bool:
    """Tell whether the server says itself that its disk is full or broken: another way would not help."""
    return error.code == FX_FAILURE and _DISK_WORDS.search(error.message) is not None


def judge_fsync(traits: ServerTraits, error: StatusError) -> Literal["refused", "failed", "unclear"]:
    """Return what an error status in answer to FSYNC means."""
    if error.code != FX_FAILURE:
        return "refused"
    return "failed" if names_the_disk(error) or traits.has_fsync else "unclear"


def begin_fsync(remote: Remote, session: SftpSession, handle: bytes) -> "asyncio.Future[None] | None":
    """Ask for what was written to be brought to the disk; None where the server does not offer that."""
    if not session.announces_fsync or remote.connections.traits.has_fsync is False:
        return None
    return session.fsync(handle)


async def await_fsync(
    remote: Remote, session: SftpSession, path: bytes, answer: "asyncio.Future[None] | None"
) -> None:
    """Wait for the answer to `begin_fsync`; StatusError where the bytes did not come to the disk."""
    if answer is None:
        return
    traits = remote.connections.traits
    try:
        await answer
    except StatusError as error:
        verdict = judge_fsync(traits, error)
        if verdict == "failed" or (
            verdict == "unclear" and await _can_sync(session, posixpath.dirname(path))
        ):
            raise
        traits.has_fsync = traits.has_fsync or False
    else:
        traits.has_fsync = True


async def _can_sync(session: SftpSession, directory: bytes) -> bool:
    """Tell whether the server brings an empty file to its disk: one that cannot even do that refuses for good."""
    path = posixpath.join(directory, temporary_names.temporary().encode())
    try:
        # Beside the file that is still open, so without a place: who waited for one here might wait for ever.
        handle = await session.open(path, WRITE | CREATE | EXCLUSIVE)
    except StatusError:
        return True  # Nobody can tell: what the server said of the file itself holds.
    try:
        await session.fsync(handle)
    except StatusError:
        return False
    finally:
        closed = session.close_handle(handle)
        session.remove(path)
        with suppress(StatusError):
            await closed
    return True
