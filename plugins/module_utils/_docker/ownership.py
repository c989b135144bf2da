# SPDX-License-Identifier: GPL-3.0-or-later
"""What on a Docker host is ours: the one decision before anything is stopped, recreated, mounted, adopted or deleted.

Ours is what bears `LABEL` with our directory as its value. Releases before the label made things without it,
and a volume cannot be labelled afterwards. Those are told by what else they left: Compose's labels on
containers name our directory, and our directory holds a Compose file of ours, of the same project, that
declares the volume or network without the label. The file of this release declares everything with the label
but what was taken over, so the rule cannot take in anything later.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError

LABEL = "freegee.mlflow_sftp.owner"
# In the head of every file that the roles write outside a directory of their own, and of the Compose file.
MARK = "freegee.mlflow_sftp"
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")

_PROJECT = "com.docker.compose.project"
WORKING_DIR = "com.docker.compose.project.working_dir"
_CONFIG_FILES = "com.docker.compose.project.config_files"
_KEYS = {"volume": "com.docker.compose.volume", "network": "com.docker.compose.network"}
# What only earlier releases wrote: their Compose file names this image, their maintenance page has this label.
_EARLIER_IMAGE = "freegee/mlflow-server:"
_EARLIER_LABEL = "freegee.mlflow_sftp.project"
# A file system of its own begins with it.
_IGNORED = {"lost+found"}


@dataclass(frozen=True)
class Thing:
    """A container, volume or network of the Docker host."""

    kind: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    # Of a container: the volumes, networks and directories that it uses, and the ports that it publishes.
    uses: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()
    running: bool = False

    @property
    def project(self) -> str:
        """The Compose project that it belongs to; empty for none."""
        return self.labels.get(_PROJECT, "")

    @property
    def owner(self) -> str:
        """The directory that it was made for; empty for none, which the label of its image says nothing of."""
        owner = self.labels.get(LABEL, "")
        return owner if owner.startswith("/") else ""

    @property
    def service(self) -> str:
        """The service of that project that a container belongs to."""
        return self.labels.get("com.docker.compose.service", "")


@dataclass(frozen=True)
class Stack:
    """The stack that is or will be in a directory; `compose` is the text of the Compose file there."""

    directory: str
    project: str
    compose: str = ""

    def made_before(self, thing: Thing, users: Collection[Thing]) -> bool:
        """Whether a release without the label made it for this stack."""
        if not is_marked(self.compose) or declared_project(self.compose) != self.project:
            return False
        if thing.kind == "container":
            return (
                (thing.project, thing.labels.get(WORKING_DIR)) == (self.project, self.directory)
                or thing.labels.get(_EARLIER_LABEL) == self.project
                or (thing.name == f"{self.project}-storage" and thing.image.startswith(_EARLIER_IMAGE))
            )
        key = thing.labels.get(_KEYS[thing.kind], "")
        mates = [user for user in users if user.project == self.project]
        return (
            thing.project == self.project
            and declared(self.compose, f"{thing.kind}s").get(key) is False
            and all(mate.labels.get(WORKING_DIR) == self.directory for mate in mates)
        )

    def joins(self, container: Thing) -> bool:
        """Whether a container is the stack's."""
        owner = container.owner
        return owner == self.directory if owner else self.made_before(container, [])


@dataclass(frozen=True)
class Lab:
    """The lab that is or will be in a directory; `sealed` says whether a run left its host key there."""

    directory: str
    sealed: bool = False
    # Of the stack that joins the lab.
    stack_directory: str = ""

    def made_before(self, thing: Thing, users: Collection[Thing]) -> bool:
        """Whether a release without the label made it: only what joins this lab uses it."""
        if thing.kind == "container":
            return self.sealed and self.joins(thing)
        return self.sealed and not thing.project and all(self.joins(user) for user in users)

    def joins(self, container: Thing) -> bool:
        """Whether a container is the lab's or the stack's."""
        places = {container.owner, container.labels.get(WORKING_DIR, ""), *container.uses}
        return any(
            PurePosixPath(place).is_relative_to(home)
            for place in places
            if place.startswith("/")
            for home in (self.directory, self.stack_directory)
            if home
        )


@dataclass(frozen=True)
class Verdict:
    """Whether a thing is ours, whether only by what an earlier release left, and otherwise who made it.

    `sharers` are containers that are not ours and use a volume or network that is.
    """

    thing: Thing
    ours: bool
    adopted: bool = False
    maker: str = ""
    sharers: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = self.maker or (f"used by {', '.join(self.sharers)}" if self.sharers else "")
        return f"{self.thing.kind} {self.thing.name}" + (f" ({said})" if said else "")


def judge(things: Sequence[Thing], containers: Sequence[Thing], home: Stack | Lab) -> list[Verdict]:
    """Decide about things of the names that `home` would use; all `containers` of the host tell who else uses them."""
    verdicts = []
    for thing in things:
        users = [user for user in containers if thing.kind != "container" and thing.name in user.uses]
        labelled = bool(thing.owner)
        ours = thing.owner == home.directory if labelled else home.made_before(thing, users)
        sharers = sorted(user.name for user in users if ours and not home.joins(user))
        author = "" if ours else maker(thing, users)
        verdicts.append(Verdict(thing, ours, ours and not labelled, author, tuple(sharers)))
    return verdicts


def maker(thing: Thing, users: Iterable[Thing] = ()) -> str:
    """Say who made a thing, as far as labels and users tell."""
    if thing.owner:
        return f"made by this collection for {thing.owner}"
    used = sorted(user.name for user in users)
    suffix = f", used by {', '.join(used)}" if used else ""
    if not thing.project:
        return (f"image {thing.image}, " if thing.image else "") + f"not made by Compose{suffix}"
    mates = [user for user in users if user.project == thing.project]
    labels = next((each.labels for each in (thing, *mates) if WORKING_DIR in each.labels), thing.labels)
    place = f" in {labels[WORKING_DIR]}" if WORKING_DIR in labels else ""
    files = f" by {labels[_CONFIG_FILES]}" if _CONFIG_FILES in labels else ""
    return f"Compose project {thing.project}{place}{files}{suffix}"


def is_marked(text: str) -> bool:
    """Whether a file was written by this collection: by its mark, or by what earlier releases wrote in its place."""
    return MARK in text or f"image: {_EARLIER_IMAGE}" in text or f'image: "{_EARLIER_IMAGE}' in text


def declared_project(compose: str) -> str:
    """Return the project that a Compose file of ours names."""
    found = re.search(r"^name: *[\"']?([^\s\"']+)", compose, re.MULTILINE)
    return found[1] if found else ""


def declared(compose: str, section: str) -> dict[str, bool]:
    """Return the volumes or networks that a Compose file of ours declares, each with whether it gives them the label.

    The file is one of our template: top-level names at the margin, their members after two spaces.
    """
    found: dict[str, bool] = {}
    inside, key = False, ""
    for line in compose.splitlines():
        if re.match(r"\S", line) and not line.startswith("#"):
            inside = line.startswith(f"{section}:")
        elif inside and (member := re.match(r"  ([\w.-]+):", line)):
            key = member[1]
            found[key] = LABEL in line
        elif inside and key and LABEL in line:
            found[key] = True
    return found


@dataclass(frozen=True)
class Directory:
    """A directory of ours, or what keeps it from being so; `known` and `strange` are its entries."""

    known: list[str]
    strange: list[str]
    maker: str = ""


def judge_directory(
    entries: Collection[str],
    known: Collection[str],
    telling: Collection[str],
    texts: Mapping[str, str],
    sealed: bool,
) -> Directory:
    """Decide about a directory.

    Args:
        entries: What is in it.
        known: What we would make there.
        telling: Those of `known` that nobody else has, where there is nothing strange beside them.
        texts: The Compose files in it.
        sealed: Whether something is there that only we make.
    """
    found = set(entries) - _IGNORED
    ours, strange = sorted(found & set(known)), sorted(found - set(known))
    unmarked = [name for name in COMPOSE_FILES if name in texts and not is_marked(texts[name])]
    if unmarked:
        return Directory(ours, strange, f"its {unmarked[0]} was not written by this collection")
    if sealed or texts or not found or (found & set(telling) and not strange):
        return Directory(ours, strange)
    some = ", ".join(sorted(found)[:5]) + (", ..." if len(found) > 5 else "")
    return Directory(ours, strange, f"it holds {some}, and nothing of this collection")


def refusal(
    verdicts: Sequence[Verdict], directory: Directory, path: str, variables: Mapping[str, str]
) -> DiagnosedError | None:
    """Return why nothing may be done here, or None. `variables` names for each kind of thing the one to change."""
    if directory.maker:
        return DiagnosedError(
            "directory_taken", directory.maker, directory=path, variable=variables["directory"]
        )
    strangers = [verdict for verdict in verdicts if not verdict.ours]
    if not strangers:
        return None
    seen = "; ".join(map(str, strangers))
    changes = " and ".join(dict.fromkeys(variables[each.thing.kind] for each in strangers))
    return DiagnosedError("name_taken", seen, directory=path, variables=changes)
