# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of what is on the server: asked for where the server can tell, read back where it cannot."""

import asyncio
import hashlib
import shlex
import sys

from mlflow_sftp.errors import IntegrityError
from mlflow_sftp.transfer import local_files
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.uri import encode
from mlflow_sftp.wire.packets import FX_OP_UNSUPPORTED, READ, StatusError
from mlflow_sftp.wire.session import SftpSession

_READS_AT_ONCE = 32


def is_enabled(remote: Remote) -> bool:
    """Tell whether contents are to be compared after each transfer."""
    return remote.connections.settings.verify == "sha256"


def new_digest(remote: Remote) -> "hashlib._Hash | None":
    """Return a new SHA-256, or None where contents are not to be compared."""
    return hashlib.sha256() if is_enabled(remote) else None


def hex_digest(remote: Remote, data: bytes | memoryview) -> str | None:
    """Return the SHA-256 of `data`, or None where contents are not to be compared."""
    return hashlib.sha256(data).hexdigest() if is_enabled(remote) else None


async def file_digest(remote: Remote, descriptor: int, size: int) -> str | None:
    """Return the SHA-256 of the first `size` bytes of a local file, or None where contents are not compared."""
    if not is_enabled(remote):
        return None
    _, digest = await asyncio.to_thread(local_files.digest, descriptor, size)
    return digest


async def verify_contents(remote: Remote, expected: str | None, path: str) -> None:
    """Compare the SHA-256 of a file on the server; IntegrityError when it differs. None compares nothing."""
    if expected is None:
        return
    found = await sha256(remote, path)
    if found != expected:
        raise IntegrityError(
            f"verify {path}",
            remote.name,
            f"its SHA-256 on the server is {found}, that of what was sent is {expected}",
            "Send it again; if this repeats, the server's disk or the sending machine's memory is at fault.",
        )


async def sha256(remote: Remote, path: str) -> str:
    """Return the SHA-256 (hexadecimal) of a file on the server, of its very bytes there."""

    async def ask(session: SftpSession) -> str:
        traits, unsupported = remote.connections.traits, False
        if traits.has_check_file is not False:
            try:
                digest = await _check_file(session, encode(path))
            except StatusError as error:
                unsupported = error.code == FX_OP_UNSUPPORTED
            else:
                traits.has_check_file = True
                if digest is not None:
                    return digest
        size, digest = await _read_back(session, encode(path))
        # Of an empty file ProFTPD says the same, though it can tell of others.
        if unsupported and size and traits.has_check_file is None:
            traits.has_check_file = False
        return digest

    digest = await _sha256sum(remote, path)
    return digest if digest is not None else await remote.attempt(f"read back {path}", ask)


async def sha256_of_beginning(remote: Remote, path: str, size: int) -> str | None:
    """Return the SHA-256 (hexadecimal) of the first `size` bytes of a file, read back; None where it has fewer."""
    found, digest = await remote.attempt(
        f"read back {path}", lambda session: _read_back(session, encode(path), size)
    )
    return digest if found == size else None


async def _check_file(session: SftpSession, path: bytes) -> str | None:
    """Ask for the hash of the whole file (draft-ietf-secsh-filexfer-extensions); None where the answer is another.

    ProFTPD can tell and does not say so in protocol version 3: whether a server can is found out once.
    """
    fields = b"".join(len(text).to_bytes(4) + text for text in (path, b"sha256"))
    answer = await session.extended(b"check-file-name", fields + bytes(8) + bytes(8) + bytes(4))
    name_length = int.from_bytes(answer[:4])
    digest = answer[4 + name_length :]
    return digest.hex() if answer[4 : 4 + name_length] == b"sha256" and len(digest) == 32 else None


async def _sha256sum(remote: Remote, path: str) -> str | None:
    """Run sha256sum where the account has a shell; whether it has is found out once."""
    connections, traits = remote.connections, remote.connections.traits
    if traits.has_shell is None:
        traits.has_shell = (await connections.run("echo mlflow-sftp")) == "mlflow-sftp\n"
    if not traits.has_shell:
        return None
    output = await connections.run(f"sha256sum < {shlex.quote(path)}")
    digest = (output or "").split(" ")[0]
    return digest if len(digest) == 64 else None


async def _read_back(session: SftpSession, path: bytes, limit: int = sys.maxsize) -> tuple[int, str]:
    """Return size and SHA-256 of a file, or of its first `limit` bytes, read from the server."""
    handle = await session.open(path, READ)
    digest, offset = hashlib.sha256(), 0
    try:
        while True:
            requested = [offset + session.block * step for step in range(_READS_AT_ONCE)]
            answers = [session.read(handle, at, session.block) for at in requested]
            for at, answer in zip(requested, answers, strict=True):
                data = await answer
                if at != offset:
                    continue  # An answer before this one was short; this range is asked for again.
                data = data[: limit - offset]
                if not data:
                    return offset, digest.hexdigest()
                digest.update(data)
                offset += len(data)
    finally:
        session.close_handle(handle)
