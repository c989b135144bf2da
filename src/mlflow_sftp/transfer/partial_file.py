# SPDX-License-Identifier: Apache-2.0
"""A local file under a temporary name, which gets its own name when it is whole."""

import contextlib
import fcntl
import os
import stat
from typing import Self

from mlflow_sftp.transfer import local_files, temporary_names

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class PartialFile:
    """Holds a temporary file beside `target` for a block of code, after which it is published, kept or removed.

    Methods raise OSError. Two downloads never write to one file: a resumable one is locked, and whoever comes second
    begins one of its own.
    """

    def __init__(self, descriptor: int, path: str, target: str, *, resumable: bool = False) -> None:
        self.descriptor = descriptor
        self._path = path
        self._target = target
        self._resumable = resumable
        self._keep = False
        # Keeps the lock until the file has its name: who gets the lock before that would take it for unfinished.
        self._lock = os.dup(descriptor) if resumable else None

    @classmethod
    def new(cls, target: str) -> Self:
        """Begin a file that nothing is known of."""
        path = os.path.join(os.path.dirname(target), temporary_names.temporary())
        return cls(os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666), path, target)

    @classmethod
    def resumable(cls, target: str, *identity: object) -> Self:
        """Begin, or go on with, the file for this very source; a new one where another download is at it."""
        path = os.path.join(os.path.dirname(target), temporary_names.resumable(*identity))
        descriptor = _open_own(path)
        return cls.new(target) if descriptor is None else cls(descriptor, path, target, resumable=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.descriptor >= 0:
            if not self._keep:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
            os.close(self._take_descriptor())
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, data: bytes, offset: int) -> None:
        local_files.write_all(self.descriptor, data, offset)

    def keep_if_resumable(self) -> None:
        """Leave what was written for the next attempt, if that could find it."""
        self._keep = self._resumable

    def publish(self, size: int) -> None:
        """Give the file its name if it has `size` bytes."""
        try:
            local_files.close_and_rename(self._take_descriptor(), self._path, self._target, size)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            raise

    def _take_descriptor(self) -> int:
        descriptor, self.descriptor = self.descriptor, -1
        return descriptor


def _open_own(path: str) -> int | None:
    """Open or make a file for this process alone; None where that is not possible.

    What has the name and is no plain file of this user (a link that was planted) gives way.
    """
    descriptor = -1
    try:
        descriptor = _open_existing(path)
        if descriptor < 0:
            descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there, here = os.lstat(path), os.fstat(descriptor)
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return descriptor
        os.close(descriptor)  # It was finished by another, and has its name.
    except OSError:
        if descriptor >= 0:
            os.close(descriptor)
    return None


def _open_existing(path: str) -> int:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return -1
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1:
        return os.open(path, _FLAGS)
    os.unlink(path)
    return -1
