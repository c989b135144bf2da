# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of what is on the server: asked for where the server can tell, read back where it cannot."""

import hashlib
import logging
import sys

from mlflow_sftp.errors import IntegrityError
from mlflow_sftp.transfer import local_files
from mlflow_sftp.transfer.read_ahead import read_ahead
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.server_digest import distrust, server_digest
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.packets import READ
from mlflow_sftp.wire.session import SftpSession

_log = logging.getLogger(__name__)

_READS_AT_ONCE = 32


def is_enabled(remote: Remote) -> bool:
    """Tell whether contents are to be compared after each transfer."""
    return remote.connections.settings.verify == "sha256"


def hex_digest(remote: Remote, data: bytes | memoryview) -> str | None:
    """Return the SHA-256 of `data`, or None where contents are not to be compared."""
    return hashlib.sha256(data).hexdigest() if is_enabled(remote) else None


async def file_digest(remote: Remote, descriptor: int, size: int) -> str | None:
    """Return the SHA-256 of the first `size` bytes of a local file, or None where contents are not compared."""
    return await local_files.sha256(descriptor, size) if is_enabled(remote) else None


async def verify_contents(remote: Remote, expected: str | None, path: str, size: int) -> None:
    """Compare the SHA-256 of a file of `size` bytes on the server; IntegrityError when it differs.

    None compares nothing.
    """
    if expected is None:
        return
    found = await sha256(remote, path, expected, size)
    if found != expected:
        raise IntegrityError(
            f"verify {path}",
            remote.name,
            f"its SHA-256 on the server is {found}, that of what was sent is {expected}",
            "Send it again; if this repeats, the server's disk or the sending machine's memory is at fault.",
        )


async def sha256(remote: Remote, path: str, expected: str | None = None, size: int | None = None) -> str:
    """Return the SHA-256 (hexadecimal) of a file on the server, of its very bytes there.

    Where the server's own word is not what is `expected`, the file is read back: that decides. With its `size` (bytes)
    the quickest way for such a file is taken.
    """
    told = await server_digest(remote, path, size)
    if told is not None and expected in (None, told):
        return told
    _, digest = await remote.attempt(
        f"read back {path}", lambda session: _read_back(remote, session, path, size)
    )
    if told is not None and digest != told:
        _log.warning("%s: the SHA-256 that the server tells of %r is not that of the file", remote.name, path)
        distrust(remote)
    return digest


async def sha256_of_beginning(remote: Remote, path: str, size: int) -> str | None:
    """Return the SHA-256 (hexadecimal) of the first `size` bytes of a file, read back; None where it has fewer."""
    found, digest = await remote.attempt(
        f"read back {path}", lambda session: _read_back(remote, session, path, size, size)
    )
    return digest if found == size else None


async def _read_back(
    remote: Remote, session: SftpSession, path: str, size: int | None, limit: int = sys.maxsize
) -> tuple[int, str]:
    """Return size and SHA-256 of a file, or of its first `limit` bytes, read from the server.

    `size` is what it should have; None where that is not known.
    """
    # One more than there should be shows where the file ends.
    at_once = _READS_AT_ONCE if size is None else min(_READS_AT_ONCE, size // session.block + 2)
    async with remote.connections.open_files.place() as place:
        handle = await place.open(lambda: session.open(encode(path), READ))
        try:
            async with remote.connections.comparison_budget.holding(at_once * session.block):
                found = await _read(session, handle, at_once, limit)
        finally:
            closed = session.close_handle(handle)
        await closed  # Before that the place is not free.
        return found


async def _read(session: SftpSession, handle: bytes, at_once: int, limit: int) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    async for offset, data in read_ahead(session, handle, 0, limit, blocks=at_once):
        digest.update(data)
        size = offset + len(data)
    return size, digest.hexdigest()
