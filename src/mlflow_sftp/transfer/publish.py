# SPDX-License-Identifier: Apache-2.0
"""Giving a finished file its name on the server."""

from mlflow_sftp.transfer import aside
from mlflow_sftp.wire.packets import FX_NO_SUCH_FILE, FX_OP_UNSUPPORTED, StatusError
from mlflow_sftp.wire.session import SftpSession


async def publish(session: SftpSession, temporary: bytes, target: bytes) -> None:
    """Give a finished file its name, replacing what has it; atomically where the server can."""
    if session.replaces_atomically:
        try:
            await session.posix_rename(temporary, target)
        except StatusError as error:
            if error.code != FX_OP_UNSUPPORTED:
                raise
            session.refuse_posix_rename()
        else:
            return
    try:
        await session.rename(temporary, target)
    except StatusError as error:
        if error.code == FX_NO_SUCH_FILE:
            raise
        await aside.replace(session, temporary, target, error)
