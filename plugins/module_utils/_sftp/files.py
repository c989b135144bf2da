# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories changed over SFTP alone: no shell, no Python, no extension that must be there."""

from __future__ import annotations

import posixpath
import secrets
import stat
from collections.abc import Iterator

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import is_broken_line
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import SftpClient


def permissions(sftp: SftpClient, path: str) -> int | None:
    """Return the permission bits; None if there is nothing or the server does not tell."""
    try:
        mode = sftp.stat(path).st_mode
    except FileNotFoundError:
        return None
    return None if mode is None else stat.S_IMODE(mode)


def set_permissions(sftp: SftpClient, path: str, mode: int) -> bool:
    """Set the permission bits and tell whether they are so now; some servers refuse, some only say yes."""
    try:
        sftp.chmod(path, mode)
    except OSError as error:
        if is_broken_line(error):
            raise
    return permissions(sftp, path) == mode


def missing_directories(sftp: SftpClient, path: str) -> list[str]:
    """Return the directories to make so that `path` is there, the outermost first.

    Raises:
        NotADirectoryError: when a part of the path is something else.
    """
    parts = path.strip("/").split("/")
    start = "/" if path.startswith("/") else ""
    for depth in range(1, len(parts) + 1):
        part = start + "/".join(parts[:depth])
        try:
            mode = sftp.stat(part).st_mode
        except FileNotFoundError:
            return [start + "/".join(parts[:end]) for end in range(depth, len(parts) + 1)]
        if not stat.S_ISDIR(mode or stat.S_IFDIR):
            raise NotADirectoryError(part)
    return []


def is_link(sftp: SftpClient, path: str) -> bool:
    """Tell whether a path is a symbolic link, also where lstat follows links as ProFTPD's does."""
    if stat.S_ISLNK(sftp.lstat(path).st_mode or 0):
        return True
    try:
        return sftp.readlink(path) is not None
    except OSError as error:
        if is_broken_line(error):
            raise
        return False


def tree(sftp: SftpClient, directory: str) -> Iterator[tuple[str, bool]]:
    """Yield (path, is directory) of everything below a directory, contents first; links are not followed."""
    for entry in sftp.listdir_attr(directory):
        path = posixpath.join(directory, entry.filename)
        is_directory = stat.S_ISDIR(entry.st_mode or 0) and not is_link(sftp, path)
        if is_directory:
            yield from tree(sftp, path)
        yield path, is_directory


def remove_tree(sftp: SftpClient, directory: str) -> None:
    """Remove a directory and all it holds; a symbolic link goes, what it points to stays."""
    for path, is_directory in list(tree(sftp, directory)):
        if is_directory:
            sftp.rmdir(path)
        else:
            sftp.remove(path)
    sftp.rmdir(directory)


def read_file(sftp: SftpClient, path: str) -> bytes | None:
    """Return the content of a file; None if it is not there."""
    try:
        with sftp.open(path, "rb") as file:
            return bytes(file.read())
    except FileNotFoundError:
        return None


def replace_file(sftp: SftpClient, path: str, content: bytes, mode: int) -> None:
    """Give a file new content in one step: whoever reads it, sees the old or the new, never a part.

    Raises:
        OSError: when the server refuses; the old file is then still there.
    """
    new = f"{path}.{secrets.token_hex(6)}.new"
    try:
        with sftp.open(new, "wx") as file:
            set_permissions(sftp, new, mode)
            file.write(content)
        stored = sftp.stat(new).st_size
        if stored != len(content):
            raise OSError(f"only {stored} of {len(content)} bytes arrived")
        _move_over(sftp, new, path)
    except OSError as error:
        if not is_broken_line(error):
            _remove_if_there(sftp, new)
        raise


def _move_over(sftp: SftpClient, new: str, path: str) -> None:
    try:
        sftp.posix_rename(new, path)
    except OSError as error:
        if is_broken_line(error):
            raise
        _move_over_without_extension(sftp, new, path)


def _move_over_without_extension(sftp: SftpClient, new: str, path: str) -> None:
    """Rename where the server has no posix-rename: plain rename may or may not replace."""
    try:
        sftp.rename(new, path)
    except OSError as error:
        if is_broken_line(error) or permissions(sftp, path) is None:
            raise
    else:
        return
    old = f"{path}.{secrets.token_hex(6)}.old"
    sftp.rename(path, old)
    try:
        sftp.rename(new, path)
    except OSError:
        sftp.rename(old, path)
        raise
    sftp.remove(old)


def _remove_if_there(sftp: SftpClient, path: str) -> None:
    try:
        sftp.remove(path)
    except OSError as error:
        if is_broken_line(error):
            raise
