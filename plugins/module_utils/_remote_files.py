# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories changed over SFTP alone: no shell, no Python, no extension that must be there."""

from __future__ import annotations

import posixpath
import secrets
import stat
from collections.abc import Iterator

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._session import SftpClient, is_broken_line


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
    missing: list[str] = []
    while path not in ("", "/", "."):
        try:
            mode = sftp.stat(path).st_mode
        except FileNotFoundError:
            missing.insert(0, path)
            path = posixpath.dirname(path)
            continue
        if not stat.S_ISDIR(mode or stat.S_IFDIR):
            raise NotADirectoryError(path)
        break
    return missing


def tree(sftp: SftpClient, directory: str) -> Iterator[tuple[str, bool]]:
    """Yield (path, is directory) of everything below a directory, contents first; links are not followed."""
    for entry in sftp.listdir_attr(directory):
        path = posixpath.join(directory, entry.filename)
        is_directory = stat.S_ISDIR(entry.st_mode or 0)
        if is_directory:
            yield from tree(sftp, path)
        yield path, is_directory


def remove_tree(sftp: SftpClient, directory: str) -> None:
    """Remove a directory and all it holds; a symbolic link goes, what it points to stays."""
    for path, is_directory in tree(sftp, directory):
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
