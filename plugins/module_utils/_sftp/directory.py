# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server says about a directory, and a named cause for each way in which it refuses one."""

from __future__ import annotations

import errno
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import is_broken_line
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import SftpClient

# Bytes below which a file system counts as full.
_LEAST_SPACE = 1_000_000
_SHOWN_ENTRIES = 12


@contextmanager
def refusal(diagnose: Callable[[OSError], DiagnosedError]) -> Iterator[None]:
    """Give what the server refuses inside the block a cause; a broken line is not a refusal."""
    try:
        yield
    except OSError as error:
        if is_broken_line(error):
            raise
        raise diagnose(error) from error


def check_directory(sftp: SftpClient, path: str) -> str:
    """Return what is known of a directory.

    Raises:
        DiagnosedError: path_missing, path_other_root, path_not_directory, path_denied.
    """
    with refusal(lambda error: _stat_error(error, sftp, path)):
        status = sftp.stat(path)
    if not stat.S_ISDIR(status.st_mode or stat.S_IFDIR):
        raise DiagnosedError("path_not_directory", f"{path} is {stat.filemode(status.st_mode or 0)}")
    with refusal(lambda error: DiagnosedError("path_denied", f"listing {path}: {error}")):
        next(sftp.listdir_iter(path, read_aheads=1), None)
    system = sftp.statvfs(path)
    return path if system is None else f"{path}, {system.free / 1e9:.1f} GB free"


def _stat_error(error: OSError, sftp: SftpClient, path: str) -> DiagnosedError:
    if isinstance(error, FileNotFoundError):
        return _missing(sftp, path)
    return DiagnosedError("path_denied", f"{path}: {error}")


def _missing(sftp: SftpClient, path: str) -> DiagnosedError:
    home = sftp.normalize(".")
    parts = path.strip("/").split("/")
    elsewhere = [posixpath.join("/", *parts[start:]) for start in range(1, len(parts))]
    elsewhere.append(posixpath.join(home, *parts))
    for candidate in elsewhere:
        if candidate != path and _is_there(sftp, candidate):
            seen = f"{path} does not exist, but {candidate} does; {_listing(sftp, '/')}"
            return DiagnosedError("path_other_root", seen)
    parent = posixpath.dirname(path)
    while parent not in ("/", "") and not _is_there(sftp, parent):
        parent = posixpath.dirname(parent)
    seen = f"{path} does not exist; {_listing(sftp, parent or '.')}"
    if parent != "/":
        seen += f"; {_listing(sftp, '/')}"
    return DiagnosedError("path_missing", seen)


def _is_there(sftp: SftpClient, path: str) -> bool:
    try:
        sftp.stat(path)
    except OSError:
        return False
    return True


def _listing(sftp: SftpClient, path: str) -> str:
    try:
        names = sorted(sftp.listdir(path))
    except OSError as error:
        return f"{path} cannot be listed ({error})"
    more = f" and {len(names) - _SHOWN_ENTRIES} more" if len(names) > _SHOWN_ENTRIES else ""
    return f"{path} holds {', '.join(names[:_SHOWN_ENTRIES]) or 'nothing'}{more}"


def write_error(error: OSError, sftp: SftpClient, path: str) -> DiagnosedError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DiagnosedError("path_read_only", f"{path}: {error.strerror or error}")
    return space_error(sftp, path) or DiagnosedError("write_failed", f"{path}: {error}")


def space_error(sftp: SftpClient, path: str) -> DiagnosedError | None:
    """Ask the file system why writing fails: SFTP's own answer is only 'Failure'."""
    system = sftp.statvfs(path)
    if system is None:
        return None
    if system.read_only:
        return DiagnosedError("path_read_only", f"{path} is on a file system mounted read-only")
    if system.free_inodes == 0:
        return DiagnosedError("no_space", f"{path}: no inodes free")
    if system.free < _LEAST_SPACE:
        return DiagnosedError("no_space", f"{path}: {system.free} bytes free")
    return None
