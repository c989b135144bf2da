# SPDX-License-Identifier: GPL-3.0-or-later
"""What services of a swarm see of files of the stack's home, as secrets and configs that are made of these."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.files import CREDENTIALS
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.served import (
    PROJECT_LABEL,
    filters,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.objects import (
    Object,
    Settings,
    objects_of,
)


def objects_of_part(stack: Stack, part: str, following: Path | None = None) -> list[Object]:
    """Return what a service is to see, as secrets and configs.

    Args:
        stack: The stack.
        part: The service, by what follows the project in its name; of PostgreSQL's, its secrets alone.
        following: Directory with the credentials of the SFTP account; by default the stack's own.
    """
    home = stack.settings.directory
    paths = _files_of(home)
    if following is not None:
        others = {inside: path for inside, path in paths.items() if not inside.startswith(CREDENTIALS)}
        paths = {**others, **_files_of(following)}
    files = [{"path": f"{home}/{inside}", "checksum": _checksum(path)} for inside, path in paths.items()]
    return [
        replace(each, path=str(paths[str(Path(each.path).relative_to(home))]))
        for each in objects_of(files, [part], _settings(stack))
    ]


def provide(stack: Stack, objects: Iterable[Object]) -> dict[str, str]:
    """Make those secrets and configs that there are not; return the ids of all, by name.

    Raises:
        CutoverError: The swarm does not take one.
    """
    name, directory = stack.project.name, stack.settings.directory
    ids = {kind: _present(kind, name, directory) for kind in ("secret", "config")}
    labels = (f"--label={LABEL}={directory}", f"--label={PROJECT_LABEL}={name}")
    for each in objects:
        if each.name not in ids[each.kind]:
            ids[each.kind][each.name] = docker.run(each.kind, "create", *labels, each.name, each.path).strip()
    return {**ids["secret"], **ids["config"]}


def _present(kind: str, project: str, directory: Path) -> dict[str, str]:
    words = docker.run(kind, "ls", "--format={{.Name}} {{.ID}}", *filters(project, directory)).split()
    return dict(zip(words[::2], words[1::2], strict=True))


def _settings(stack: Stack) -> Settings:
    settings = stack.settings
    own = (settings.uid, settings.gid)
    # What other services see is not asked for, and as whom they see it, they say themselves.
    return Settings(
        project=stack.project.name,
        directory=str(settings.directory),
        config_dir=settings.config_dir,
        key_dir=settings.key_dir,
        gateway_config_dir="",
        gateway_tls_dir="",
        postgres_config_dir="",
        dask_config_dir="",
        dask_tls_dir="",
        server_ids=own,
        gateway_ids=own,
        postgres_ids=own,
        storing=("mlflow",),
    )


def _files_of(directory: Path) -> dict[str, Path]:
    """Return the files of a directory of a stack's that services may see, by their names in there."""
    return {
        str(path.relative_to(directory)): path
        for name in ("mlflow", ".secrets")
        for path in sorted((directory / name).rglob("*"))
        if path.is_file()
    }


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
