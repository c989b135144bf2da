# SPDX-License-Identifier: GPL-3.0-or-later
"""What is tidied on the Docker host: cutovers, clusters that upgrades put aside, images."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import PRUNED, load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import (
    Item,
    age_of,
    choose,
    cluster_items,
    is_id,
    needed_cutovers,
    planned_images,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.images import (
    images_before,
    images_in,
    jobs_images,
    needed_by_others,
    needed_by_services,
    tidy_images,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import Outcome, attempt


class OnHost:
    """Cutovers of a stack, and what only they need.

    Args:
        stack: Of which no cutover is half done.
        days: How old what goes is.
        check: Whether nothing is to be changed.
    """

    def __init__(self, stack: Stack, days: int, check: bool) -> None:
        self._stack = stack
        self._directory = stack.settings.directory
        self._switches = stack.settings.switches
        self._days = days
        self._check = check
        self._now = time.time()
        self._records = load_all(self._switches)
        pruned = [path.parent.name for path in self._switches.glob(f"*/{PRUNED}")]
        self._needed = needed_cutovers(self._records, stack.store, pruned)
        # Cutovers that went, or would.
        self._gone: set[str] = set()

    def tidy(self) -> Iterator[Outcome]:
        """Tidy kind by kind: a cutover goes before the images that only it needs."""
        yield attempt("cutovers", self._cutovers)
        yield attempt("clusters", self._clusters)
        yield attempt("images", self._images)

    def _cutovers(self) -> Outcome:
        directories = [path for path in sorted(self._switches.glob("*")) if is_id(path.name)]
        items = [
            Item(path.name, age_of(path.name, self._now), _size_of(path), self._needed.get(path.name, ""))
            for path in directories
        ]
        choice = choose(items, self._days)
        failed = {}
        if not self._check:
            _finish_removals(self._switches)
        for item in choice.going if not self._check else ():
            try:
                _remove_directory(self._switches / item.name)
            except OSError as error:
                failed[item.name] = f"cannot be deleted: {error.strerror}"
        self._gone = {item.name for item in choice.going} - failed.keys()
        return Outcome.of_choice("cutovers", choice, failed)

    def _clusters(self) -> Outcome:
        image = self._stack.project.postgres_image
        # On a swarm, no cutover puts one aside.
        if not image or self._stack.project.on_swarm:
            return Outcome("clusters")
        said = self._stack.in_clusters(
            image, 'for each in cluster-*; do [ ! -d "$each" ] || du -sk "$each"; done'
        )
        sizes = {name: int(size) << 10 for size, name in (line.split("\t", 1) for line in said.splitlines())}
        choice = choose(cluster_items(sizes, self._needed, self._now), self._days)
        if choice.going and not self._check:
            self._stack.in_clusters(image, 'rm -rf -- "$@"', *(item.name for item in choice.going))
        return Outcome.of_choice("clusters", choice)

    def _images(self) -> Outcome:
        needed = self._needed_images()
        outcome = tidy_images(self._directory, needed, self._days, self._now, check=self._check)
        return replace(outcome, needed=needed)

    def _needed_images(self) -> dict[str, str]:
        """Return the images that stay, each with the reason."""
        project = self._stack.project
        needed = needed_by_others(self._directory) | (needed_by_services() if project.on_swarm else {})
        needed |= planned_images(record for record in self._records if record.id not in self._gone)
        for record in self._records:
            for image in images_before(self._switches / record.id) if record.id not in self._gone else ():
                needed[image] = f"the {record.NAME} {record.id} goes back to it"
        for image in images_in(self._directory / "before-deployment.tar"):
            needed[image] = "the stack from before the last deployment runs it"
        deployed = (*project.images, *jobs_images(self._directory))
        return {**needed, **dict.fromkeys(deployed, "it is deployed")}


def _size_of(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())


def _remove_directory(directory: Path) -> None:
    """Remove a cutover's directory; what is interrupted leaves it without the name of one, to be removed later."""
    aside = directory.with_name(f".{directory.name}.removed")
    directory.rename(aside)
    shutil.rmtree(aside)


def _finish_removals(switches: Path) -> None:
    for left in switches.glob(".*.removed"):
        shutil.rmtree(left)
