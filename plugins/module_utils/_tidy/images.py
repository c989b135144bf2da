# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images the stacks of a Docker host need: several may run one of the same name, which only one of them made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import images_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import planned_images

_COMPOSE = "compose.yml"


def needed_by_others(directory: Path) -> dict[str, str]:
    """Return the images that other stacks of the host need than the one in a directory, each with the reason.

    Raises:
        OSError: A file of theirs cannot be read, so that nobody can tell.
        RefusedError: A record of theirs cannot be understood, likewise.
    """
    return {
        image: f"the stack in {other} needs it"
        for other in sorted(_directories() - {str(directory)})
        for image in _images_for(Path(other))
    }


def images_in(archive: Path) -> list[str]:
    """Return the images that the Compose file of an archive names; none where there is no archive."""
    return images_of(files.text_of(archive, _COMPOSE)) if archive.exists() else []


def _directories() -> set[str]:
    """Return the directories of all stacks that have a container, a volume or a network, whether they run or not."""
    label, shown = f"--filter=label={LABEL}", f'--format={{{{.Label "{LABEL}"}}}}'
    lists = (("container", "ls", "--all"), ("volume", "ls"), ("network", "ls"))
    owners = {line for each in lists for line in docker.run(*each, label, shown).splitlines()}
    return {owner for owner in owners if owner.startswith("/")}


def _images_for(directory: Path) -> list[str]:
    try:
        return list(_named_in(directory))
    except (OSError, RefusedError):
        if directory.exists():
            raise
        # Somebody removes that stack now.
        return []


def _named_in(directory: Path) -> Iterator[str]:
    switches = directory / "switches"
    for path in (directory / _COMPOSE, *switches.glob(f"*/next/{_COMPOSE}")):
        if path.exists():
            yield from images_of(path.read_text())
    for archive in (directory / "before-deployment.tar", *switches.glob("*/before.tar")):
        yield from images_in(archive)
    yield from planned_images(load_all(switches))
