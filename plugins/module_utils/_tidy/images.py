# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a stack, and which the stacks of a host need: several may run one of a name, which one of them made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import described, docker, files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.swarm_driver import DESCRIPTION
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import LABEL
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import images_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import (
    Image,
    age_at,
    choose,
    image_items,
    planned_images,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import Outcome

_COMPOSE = "compose.yml"


def tidy_images(directory: Path, needed: Mapping[str, str], days: int, now: float, *, check: bool) -> Outcome:
    """Delete images that were made for the stack of a directory, more than so many days ago.

    Args:
        directory: Of the stack, here or on another host.
        needed: Names or ids of those that stay, each with the reason.
        days: How old they are.
        now: In seconds since 1970.
        check: Whether nothing is to be changed.
    """
    images = {image.name: image for image in _made_for(directory, now)}
    choice = choose(image_items(images.values(), needed), days)
    failed = {}
    for item in choice.going if not check else ():
        try:
            # Without force: the engine refuses what somebody has begun to use meanwhile.
            docker.run("image", "rm", *(images[item.name].tags or [item.name]))
        except CutoverError as error:
            failed[item.name] = error.seen
    return Outcome.of_choice("images", choice, failed)


def needed_by_services() -> dict[str, str]:
    """Return the images of all services of the swarm that this engine manages, each with the reason.

    Raises:
        CutoverError: Nobody can tell.
    """
    ids = docker.run("service", "ls", "--quiet").split()
    services: list[Mapping[str, Any]] = json.loads(docker.run("service", "inspect", *ids)) if ids else []
    # Where an update fails, a swarm goes back by itself.
    before = {
        image: f"the swarm goes back to it where {_name(each)} fails"
        for each in services
        for image in _images_of(each.get("PreviousSpec"))
    }
    present = {image: f"{_name(each)} runs it" for each in services for image in _images_of(each["Spec"])}
    return {**before, **present}


def images_before(cutover: Path) -> list[str]:
    """Return the images that the cutover of a directory goes back to."""
    description = cutover / DESCRIPTION
    if description.exists():
        return [described.image_of(json.loads(description.read_text()))]
    return images_in(cutover / "before.tar")


def needed_by_others(directory: Path | None) -> dict[str, str]:
    """Return the images that other stacks of the host need than the one in a directory, each with the reason.

    On a swarm's node, whose stack is another host's, `directory` is None.

    Raises:
        OSError: A file of theirs cannot be read, so that nobody can tell.
        RefusedError: A record of theirs cannot be understood, likewise.
    """
    return {
        image: f"the stack in {other} needs it"
        for other in sorted(_directories() - ({str(directory)} if directory else set()))
        for image in _images_for(Path(other))
    }


def jobs_images(directory: Path) -> list[str]:
    """Return the images of the jobs that are begun from the directory of a swarm's stack."""
    path = directory / "jobs" / _COMPOSE
    return images_of(path.read_text()) if path.exists() else []


def images_in(archive: Path) -> list[str]:
    """Return the images that the Compose file of an archive names; none where there is no such file."""
    if not archive.exists() or not files.holds(archive, _COMPOSE):
        return []
    return images_of(files.text_of(archive, _COMPOSE))


def _images_of(description: Mapping[str, Any] | None) -> list[str]:
    """Return the image of a service as it is described; none where that runs no containers, but a plugin."""
    if not description or "ContainerSpec" not in description["TaskTemplate"]:
        return []
    return [described.image_of(description)]


def _name(service: Mapping[str, Any]) -> str:
    return f"the service {service['Spec']['Name']}"


def _made_for(directory: Path, now: float) -> list[Image]:
    label = f"--filter=label={LABEL}={directory}"
    ids = sorted(set(docker.run("image", "ls", "--no-trunc", "--quiet", label).split()))
    shown: list[Mapping[str, Any]] = json.loads(docker.run("image", "inspect", *ids)) if ids else []
    return [
        Image(
            each["Id"],
            tuple(each["RepoTags"] or ()),
            age_at(each["Created"], now),
            each["Size"],
            _is_used(each["Id"]),
        )
        for each in shown
    ]


def _is_used(image: str) -> bool:
    """Tell whether a container, running or not, is made of an image."""
    return bool(docker.run("container", "ls", "--all", "--quiet", f"--filter=ancestor={image}").strip())


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
    yield from jobs_images(directory)
    yield from images_in(directory / "before-deployment.tar")
    for cutover in switches.glob("*"):
        yield from images_before(cutover)
    yield from planned_images(load_all(switches))
