# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack's files: kept from before, and replaced one by one by those of after.

Directories are not swapped: a container's bind mount follows the directory that it was started with, and what is
mounted alone follows the file. So a file is written beside the present one, and takes its name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.login import DIRECTORY as LOGIN

# In this order: until compose.yml is there, the files before are what Compose reads.
FILES = (".other_stores.json", ".env", "compose.yml")
# Without these, a directory holds no stack; on a swarm, no file describes the services.
OF_COMPOSE = (".env", "compose.yml")
OF_SWARM = (".env",)
CREDENTIALS = ("mlflow", ".secrets/mlflow_sftp_key")
DIRECTORIES = (*CREDENTIALS, LOGIN, "postgres")
# Of a deployment alone: a cutover leaves them, and undone weeks later, it must not bring back an expired certificate.
DEPLOYED = ("gateway", ".secrets/gateway", "dask", ".secrets/dask")


def save(stack: Path, archive: Path, *, deployment: bool = False) -> None:
    """Keep the files of a stack in an archive, those of `DEPLOYED` if asked to, completely or not at all."""
    temporary = archive.with_name(f".{archive.name}.new")
    with open(temporary, "wb", opener=_private) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in (*FILES, *DIRECTORIES, *(DEPLOYED if deployment else ())):
                if (stack / name).exists():
                    tar.add(stack / name, arcname=name)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(archive)


def extract(archive: Path, directory: Path) -> None:
    """Write the files of an archive into a directory; raises OSError."""
    try:
        _extract(archive, directory)
    except tarfile.TarError as error:
        raise OSError(f"{archive} cannot be read: {error}") from error


def _extract(archive: Path, directory: Path) -> None:
    with tarfile.open(archive) as tar:
        # Ours, and only root could have changed it.
        tar.extraction_filter = getattr(tarfile, "tar_filter", None)
        tar.extractall(directory, numeric_owner=True)  # noqa: S202


def restore(
    archive: Path,
    stack: Path,
    *,
    credentials: bool = True,
    deployment: bool = False,
    needed: Sequence[str] = OF_COMPOSE,
) -> None:
    """Give a stack the files of an archive, and none that it did not have; `install` says of which.

    Those of `DEPLOYED` stay unless they were asked for, as they were at `save`.
    """
    with tempfile.TemporaryDirectory(dir=archive.parent) as directory:
        extract(archive, Path(directory))
        kept = Path(directory)
        for name in DEPLOYED if deployment else ():
            if (kept / name).is_dir():
                install_directory(kept / name, stack / name)
                # A deployment may have given it to another user.
                _copy_metadata(kept / name, stack / name)
        install(kept, stack, credentials=credentials, needed=needed)
        for name in DEPLOYED if deployment else ():
            _remove_what_lacks(kept, stack, name)


def install(
    source: Path, stack: Path, *, credentials: bool = True, needed: Sequence[str] = OF_COMPOSE
) -> None:
    """Give a stack the files of a directory, and none of `FILES` and `DIRECTORIES` that the directory does not have.

    Credentials may stay as they are. What goes does so after compose.yml, which named it, has been replaced. Raises
    OSError, also where the directory holds no stack, for it lacks what is `needed`: then nothing is changed.
    """
    for name in needed:
        if not (source / name).exists():
            raise FileNotFoundError(f"{source} holds no {name}")
    names = [name for name in DIRECTORIES if credentials or name not in CREDENTIALS]
    for name in names:
        if (source / name).is_dir():
            install_directory(source / name, stack / name)
    for name in FILES:
        if (source / name).exists():
            install_file(source / name, stack / name)
    for name in (*names, *FILES):
        _remove_what_lacks(source, stack, name)


def _remove_what_lacks(source: Path, stack: Path, name: str) -> None:
    """Remove from a stack what its source does not have."""
    if (source / name).exists():
        return
    if (stack / name).is_dir():
        shutil.rmtree(stack / name)
    else:
        (stack / name).unlink(missing_ok=True)


def text_of(archive: Path, name: str) -> str:
    """Return the text of a file of an archive; raises OSError."""
    try:
        with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=archive.parent) as directory:
            tar.extraction_filter = getattr(tarfile, "tar_filter", None)
            tar.extract(name, directory)
            return (Path(directory) / name).read_text()
    except (tarfile.TarError, KeyError) as error:
        raise OSError(f"{archive} cannot be read: {error}") from error


def holds(archive: Path, name: str) -> bool:
    """Return whether an archive has a file; raises OSError."""
    try:
        with tarfile.open(archive) as tar:
            return name in tar.getnames()
    except tarfile.TarError as error:
        raise OSError(f"{archive} cannot be read: {error}") from error


def digest(stack: Path) -> str:
    """Return a digest of the files of a stack, credentials aside."""
    digested = hashlib.sha256()
    for name in FILES:
        path = stack / name
        digested.update(path.read_bytes() if path.exists() else b"")
        digested.update(b"\0")
    return digested.hexdigest()


def complete(following: Path, stack: Path, client: Path | None, renamed: Mapping[str, str]) -> None:
    """Give the directory of the next files the credentials that the next services use.

    Args:
        following: The directory.
        stack: The stack's, whose credentials stay in use where there are no others.
        client: The credentials of a second account; None for none. What else there is, is the stack's.
        renamed: Which paths those name, and what they are called once the account is the only one.
    """
    for name in DIRECTORIES:
        source = (client if client and name in CREDENTIALS else stack) / name
        if source.is_dir():
            _take_over(source, following / name)
    for path in (following / "mlflow").glob("*") if client else ():
        text = path.read_text()
        for before, after in renamed.items():
            text = text.replace(before, after)
        path.write_text(text)


def renew(following: Path, stack: Path) -> None:
    """Give the directory of the next files the directories that the stack has by now, the account's credentials aside.

    A deployment may have changed a password since `complete`. Raises OSError.
    """
    for name in (name for name in DIRECTORIES if name not in CREDENTIALS):
        if (stack / name).is_dir():
            _take_over(stack / name, following / name)
        _remove_what_lacks(stack, following, name)


def install_directory(source: Path, target: Path) -> None:
    """Give a directory the files of another one, each at once, and no others; raises OSError."""
    if not target.is_dir():
        target.mkdir(parents=True)
        _copy_metadata(source, target)
    for path in sorted(source.iterdir()):
        install_file(path, target / path.name)
    for path in target.iterdir():
        if path.is_file() and not (source / path.name).exists():
            path.unlink()


def install_file(source: Path, target: Path) -> None:
    """Give a file content, owner and mode of another one, all at once; raises OSError."""
    temporary = target.with_name(f".{target.name}.new")
    with open(temporary, "wb", opener=_private) as file, source.open("rb") as present:
        shutil.copyfileobj(present, file)
        file.flush()
        os.fsync(file.fileno())
    _copy_metadata(source, temporary)
    temporary.replace(target)


def _take_over(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    _copy_metadata(source.parent, target.parent)
    _copy_metadata(source, target)
    install_directory(source, target)


def _copy_metadata(source: Path, target: Path) -> None:
    shutil.copystat(source, target)
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
