# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, also after a power cut."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from mlflow_sftp.errors import StorageError


@contextlib.contextmanager
def replaced_file(target: Path) -> Iterator[Path]:
    """A private (0600) temporary name beside `target` that becomes `target` when the block ends well.

    Raises StorageError where the file cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            yield temporary
            sync(temporary)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(target.parent)
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror}",
            "name a file in a directory that this user may write to",
        ) from error


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
