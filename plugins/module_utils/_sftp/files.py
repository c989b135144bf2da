# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories changed over SFTP alone: no shell, no Python, no extension that must be there.

What a server does not tell is asked for in another way, or the work is refused: nothing is assumed. Nothing is asked
about a directory that is not needed: many a server hides those above an account's own.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import stat
from collections.abc import Iterator

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import (
    Attributes,
    SftpClient,
    shown,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import is_broken_line

# Bytes of a file that is changed here as a whole.
_LARGEST_FILE = 16 << 20
_MOST_LEVELS = 500


def look(sftp: SftpClient, path: str) -> Attributes | None:
    """Return what a server tells of a path, links followed; None if there is nothing."""
    try:
        return sftp.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def permissions(sftp: SftpClient, path: str) -> int | None:
    """Return the permission bits; None if there is nothing, or the server does not tell or refuses to."""
    with _unless_refused():
        return sftp.stat(path).permissions
    return None


def set_permissions(sftp: SftpClient, path: str, mode: int) -> bool:
    """Set the permission bits and tell whether they are so now; some servers refuse, some only say yes."""
    with _unless_refused():
        sftp.chmod(path, mode)
    return permissions(sftp, path) == mode


@contextlib.contextmanager
def _unless_refused() -> Iterator[None]:
    """Go on where the server refuses what is done inside the block; a broken line is not a refusal."""
    try:
        yield
    except OSError as error:
        if is_broken_line(error):
            raise


def missing_directories(sftp: SftpClient, path: str) -> list[str]:
    """Return the directories to make so that `path` is there, the outermost first.

    Goes up from `path` only as far as the first one that is there, or that the server does not show.

    Raises:
        NotADirectoryError: when a part of the path is something else.
    """
    missing: list[str] = []
    for part in _upwards(path):
        try:
            found = look(sftp, part)
        except OSError as error:
            if is_broken_line(error) or (part == path and not _may_be_hidden(sftp, path)):
                raise
            break
        if found is not None:
            if not _is_directory(sftp, part, found):
                raise NotADirectoryError(part)
            break
        missing.insert(0, part)
    return missing


def _upwards(path: str) -> Iterator[str]:
    """Yield a path and what is above it, without "/" and the directory that the login starts in."""
    part = path.rstrip("/")
    while part not in ("", ".", "/"):
        yield part
        part = posixpath.dirname(part).rstrip("/")


def _may_be_hidden(sftp: SftpClient, path: str) -> bool:
    """Whether a directory that may not be asked about opens all the same."""
    return sftp.opens_as_directory(path)


def make_directories(sftp: SftpClient, missing: list[str]) -> list[str]:
    """Make directories, the outermost first, and return those that were not there.

    One above the last that cannot be made may be there and hidden: the last one decides.
    """
    made = []
    for path in missing:
        try:
            sftp.mkdir(path)
            made.append(path)
        except OSError as error:
            if is_broken_line(error):
                raise
            if path == missing[-1] and not _is_there(sftp, path):
                raise
    return made


def _is_there(sftp: SftpClient, path: str) -> bool:
    try:
        found = look(sftp, path)
    except OSError as error:
        if is_broken_line(error):
            raise
        return sftp.opens_as_directory(path)
    return found is not None and _is_directory(sftp, path, found)


def _is_directory(sftp: SftpClient, path: str, known: Attributes) -> bool:
    if known.kind is None:
        return sftp.opens_as_directory(path)
    return known.kind == stat.S_IFDIR


def is_link(sftp: SftpClient, path: str) -> bool:
    """Tell whether a path is a symbolic link, also where lstat follows links as ProFTPD's does."""
    if sftp.lstat(path).kind == stat.S_IFLNK:
        return True
    try:
        sftp.readlink(path)
    except OSError as error:
        if is_broken_line(error):
            raise
        return False
    return True


def kind_of(sftp: SftpClient, path: str, known: Attributes) -> int:
    """Return the type of an entry, ``stat.S_IFDIR`` or another; what a listing does not tell is asked for.

    Raises:
        OSError: where the server does not tell at all.
    """
    kind = known.kind or sftp.lstat(path).kind
    if kind is None:
        raise OSError(f"the server does not tell whether {shown(path)} is a file, a directory or a link")
    return kind


def tree(sftp: SftpClient, directory: str, level: int = 0) -> Iterator[tuple[str, bool]]:
    """Yield (path, is directory) of everything below a directory, contents first; links are not followed."""
    if level > _MOST_LEVELS:
        raise OSError(f"{shown(directory)} is more than {_MOST_LEVELS} levels deep")
    for entry in sftp.entries(directory):
        path = posixpath.join(directory, entry.name)
        is_directory = kind_of(sftp, path, entry.attributes) == stat.S_IFDIR and not is_link(sftp, path)
        if is_directory:
            yield from tree(sftp, path, level + 1)
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
    content = bytearray()
    try:
        for block in sftp.read(path):
            content += block
            if len(content) > _LARGEST_FILE:
                raise OSError(f"{shown(path)} has more than {_LARGEST_FILE} bytes")
    except FileNotFoundError:
        return None
    return bytes(content)


class FileChangedError(OSError):
    """A file is not what it was when it was read."""


def replace_file(sftp: SftpClient, path: str, before: bytes | None, content: bytes, mode: int) -> None:
    """Give a file new content in one step: whoever reads it, sees the old or the new, never a part.

    The new content is read back before it takes the place of the old one.

    Args:
        sftp: The session.
        path: The file.
        before: What it held when it was read; None where it was not there.
        content: What it is to hold.
        mode: Permission bits.

    Raises:
        FileChangedError: Somebody else has changed it since it was read.
        OSError: when the server refuses; the old file is then still there.
    """
    new = f"{path}.{secrets.token_hex(6)}.new"
    try:
        sftp.create(new, content, mode)
        set_permissions(sftp, new, mode)
        if read_file(sftp, new) != content:
            raise OSError("what was written is not what is read back")
        if read_file(sftp, path) != before:
            raise FileChangedError(f"somebody else has changed {shown(path)} at the same time")
        move_over(sftp, new, path)
    except OSError as error:
        if not is_broken_line(error):
            with _unless_refused():
                sftp.remove(new)
        raise


def move_over(sftp: SftpClient, new: str, path: str) -> bool:
    """Rename a file over another one that may be there, and tell whether the server did so in one step."""
    with _unless_refused():
        sftp.posix_rename(new, path)
        return True
    return _move_over_without_extension(sftp, new, path)


def _move_over_without_extension(sftp: SftpClient, new: str, path: str) -> bool:
    """Rename where the server has no posix-rename: plain rename may or may not replace."""
    try:
        sftp.rename(new, path)
    except OSError as error:
        if is_broken_line(error) or look(sftp, path) is None:
            raise
    else:
        return True
    old = f"{path}.{secrets.token_hex(6)}.old"
    sftp.rename(path, old)
    try:
        sftp.rename(new, path)
    except OSError as error:
        if is_broken_line(error):
            raise
        sftp.rename(old, path)
        raise
    sftp.remove(old)
    return False
