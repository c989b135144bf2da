# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server says about a directory, and a named cause for each way in which it refuses one."""

from __future__ import annotations

import errno
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import SftpClient, shown
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import is_broken_line

# Bytes below which a file system counts as full.
_LEAST_SPACE = 1_000_000
_SHOWN_ENTRIES = 12
_ENOUGH_ENTRIES = 1000


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

    What a server refuses to say about a path counts only if it does not list it either.

    Raises:
        DiagnosedError: path_missing, path_other_root, path_not_directory, path_denied.
    """
    unknown = None
    try:
        kind = sftp.stat(path)
        if kind.kind not in (stat.S_IFDIR, None):
            raise DiagnosedError("path_not_directory", f"{path} is {stat.filemode(kind.mode or 0)}")
    except OSError as error:
        if is_broken_line(error):
            raise
        unknown = error
    # An artifact root may hold a hundred thousand directories: the first ones will do.
    with refusal(lambda error: _unusable(unknown or error, sftp, path)):
        sftp.entries(path, enough=1)
    system = sftp.statvfs(path)
    return path if system is None else f"{path}, {system.free / 1e9:.1f} GB free"


def _unusable(error: OSError, sftp: SftpClient, path: str) -> DiagnosedError:
    if isinstance(error, FileNotFoundError):
        return _missing(sftp, path)
    return DiagnosedError("path_denied", f"listing {path}: {error.strerror or error}")


def _missing(sftp: SftpClient, path: str) -> DiagnosedError:
    home = _home(sftp) or "/"
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


def start_directory(sftp: SftpClient) -> str:
    """Say where the login starts."""
    home = _home(sftp)
    return f"starts in {shown(home)}" if home else "the server does not say where the login starts"


def _home(sftp: SftpClient) -> str | None:
    try:
        return sftp.normalize(".")
    except OSError as error:
        if is_broken_line(error):
            raise
        return None


def _is_there(sftp: SftpClient, path: str) -> bool:
    try:
        sftp.stat(path)
    except OSError as error:
        if is_broken_line(error):
            raise
        return False
    return True


def _listing(sftp: SftpClient, path: str) -> str:
    try:
        names = sorted(shown(entry.name) for entry in sftp.entries(path, enough=_ENOUGH_ENTRIES))
    except OSError as error:
        if is_broken_line(error):
            raise
        return f"{path} cannot be listed ({error.strerror or error})"
    more = " and more" if len(names) > _SHOWN_ENTRIES else ""
    return f"{path} holds {', '.join(names[:_SHOWN_ENTRIES]) or 'nothing'}{more}"


def write_error(error: OSError, sftp: SftpClient, path: str) -> DiagnosedError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DiagnosedError("path_read_only", f"{path}: {error.strerror or error}")
    if error.errno == errno.ENOSPC:
        return DiagnosedError("no_space", f"{path}: {error.strerror}")
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
