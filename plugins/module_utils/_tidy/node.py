# SPDX-License-Identifier: GPL-3.0-or-later
"""What is tidied on a node of a swarm other than the stack's home, without that one's directory and database."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.asking import Manner
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Days
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.downloads import (
    servers_of_swarm,
    tidy_downloads,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.images import (
    needed_by_others,
    tidy_images,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import Outcome, attempt

_ALL = "all of them"
_UNTOLD = "the stack's home has not told which it needs"


@dataclass(frozen=True)
class Home:
    """The stack, as its home knows it.

    Attributes:
        directory: Of the stack, by which what was made for it is known.
        project: With which the names of its services begin.
        needed: Names or ids of the images that stay, each with the reason; empty where the home could not be asked.
        refused: Why the home has tidied nothing; empty where it has.
    """

    directory: Path
    project: str
    needed: Mapping[str, str]
    refused: str = ""


def tidy_node(home: Home, days: Days, manner: Manner) -> Iterator[Outcome]:
    """Delete what is old and superfluous, kind by kind; one that fails does not keep the others.

    Where the home has refused, nothing goes here either: only the home knows of a cutover that is half done, and when
    it was tidied up before.
    """
    deeds = {"downloads": (_downloads, days.downloads), "images": (_images, days.cutovers)}
    for kind, (deed, age) in deeds.items():
        if age and home.refused:
            yield Outcome(kind, kept={_ALL: f"the stack's home has tidied nothing: {home.refused}"})
        elif age:
            yield attempt(kind, deed, home, days, manner)


def _downloads(home: Home, days: Days, manner: Manner) -> Outcome:
    return tidy_downloads(servers_of_swarm(home.project), days.downloads, manner)


def _images(home: Home, days: Days, manner: Manner) -> Outcome:
    if not home.needed:
        return Outcome("images", kept={_ALL: _UNTOLD})
    needed = {**needed_by_others(None), **home.needed}
    return tidy_images(home.directory, needed, days.cutovers, time.time(), check=manner.check)
