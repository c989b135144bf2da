# SPDX-License-Identifier: Apache-2.0
"""What a server does not tell of a file when it is asked the ordinary way, found out in another."""

import stat

from mlflow_sftp.uri import encode
from mlflow_sftp.wire.packets import FX_PERMISSION_DENIED, Attributes, StatusError
from mlflow_sftp.wire.server_traits import ServerTraits
from mlflow_sftp.wire.session import SftpSession


async def complete_attributes(session: SftpSession, path: bytes, attributes: Attributes) -> Attributes:
    """Return attributes with a type: what can be opened as a directory is one, what cannot be is a file.

    The type stays unknown where the server lets nobody find out.
    """
    if attributes.mode is not None:
        return attributes
    try:
        handle = await session.opendir(path)
    except StatusError as error:
        return attributes if error.code == FX_PERMISSION_DENIED else attributes._replace(mode=stat.S_IFREG)
    session.close_handle(handle)
    return attributes._replace(mode=stat.S_IFDIR)


async def look_at_open_file(
    session: SftpSession, traits: ServerTraits, handle: bytes, path: str
) -> Attributes:
    """Return what a server tells of an open file; of its path where it tells nothing of open ones."""
    if traits.answers_fstat_of_read is not False:
        try:
            attributes = await session.fstat(handle)
        except StatusError:
            traits.answers_fstat_of_read = False
        else:
            if attributes.size is not None:
                return attributes
    try:
        return await session.stat(encode(path))
    except StatusError:
        return Attributes()
