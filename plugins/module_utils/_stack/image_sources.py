# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stack's images are built from, and where `mlflow-sftp` in them comes from."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

PINS = ("requirements/client.txt", "requirements/server.txt")
# Of what only some stacks have.
DASHBOARD_PINS = "requirements/dashboard.txt"
PACKAGE = "mlflow-sftp"
# The package's own sources, as they lie in a clone, and its wheel, as bin/build puts it into the role.
_SOURCES = ("LICENSES/Apache-2.0.txt", "pyproject.toml", "src/*.py", "src/*.typed")
_WHEEL = "mlflow_sftp-*.whl"
_REMEDY = (
    "Install the tarball that bin/build makes, or use a clone of the repository. (With mlflow_stack_package_version, "
    f"pip's index provides {PACKAGE}; the pins and the sample experiment come with the collection in any case.)"
)
# Of a version, what tells one release from another: neither its packaging (.post1) nor who built it (+site.1).
_RELEASE = re.compile(r"(\d+(?:\.\d+)*)((?:(?:a|b|rc)\d+)?)(?:\.post\d+)?((?:\.dev\d+)?)(?:\+[a-z\d.]+)?")


@dataclass(frozen=True)
class ImageSources:
    """What the images are built from.

    Attributes:
        place: Where the files are: ``checkout`` (the collection's directory), ``role`` (what the build has put into the
            role), empty where they are nowhere.
        files: Relative to that place, and likewise in the build context; sorted.
        kind: What the package is installed from: ``sources``, ``wheel`` or ``index``; empty for nothing.
        package: The wheel's name, or the requirement for the index; empty for sources.
        findings: Why nothing can be built, or what would be built is of no use, each with what to do.
    """

    place: str = ""
    files: tuple[str, ...] = ()
    kind: str = ""
    package: str = ""
    findings: tuple[str, ...] = ()


def image_sources(
    checkout: Collection[str],
    role: Collection[str],
    version: str = "",
    collection_version: str = "",
    dashboard: bool = False,
) -> ImageSources:
    """Choose among what there is.

    A version that the inventory names is asked of pip's index. Otherwise a clone uses its own sources, an installed
    collection the wheel that came with it.

    Args:
        checkout: Files below the collection's directory, relative to it.
        role: Files that a build has put into the role, relative to where it puts them.
        version: Of the package, in pip's index; empty for the collection's own.
        collection_version: Of the collection; empty where nobody knows.
        dashboard: Whether clients get what shows dask's dashboard.
    """
    needed = (*PINS, DASHBOARD_PINS) if dashboard else PINS
    always = (*needed, "experiments/*.py")
    if all(name in checkout for name in needed):
        place, there = "checkout", checkout
    elif all(name in role for name in needed):
        place, there = "role", role
    else:
        pins = " and ".join(needed)
        return ImageSources(
            findings=(f"The collection lacks {pins}, which the images are built from. {_REMEDY}",)
        )
    files = _matching(there, always)
    if version:
        problem = version_problem(version, collection_version)
        return ImageSources(
            place, files, "index", f"{PACKAGE}=={version}", findings=(problem,) if problem else ()
        )
    if place == "checkout" and all(_matching(checkout, (pattern,)) for pattern in _SOURCES):
        return ImageSources(place, _matching(checkout, (*always, *_SOURCES)), "sources")
    wheels = _matching(there, (_WHEEL,))
    if len(wheels) == 1:
        return ImageSources(place, tuple(sorted((*files, *wheels))), "wheel", wheels[0])
    found = (
        f"several wheels of {PACKAGE} ({', '.join(wheels)})"
        if wheels
        else f"neither sources nor wheel of {PACKAGE}"
    )
    return ImageSources(findings=(f"The collection holds {found}. {_REMEDY}",))


def version_problem(package: str, collection: str) -> str:
    """Return why a package of one version does not serve a collection of another; empty where it may.

    What is no version is not compared: `value_problems` tells of the inventory's, and the collection's may be unknown.
    """
    wanted, own = _release(package), _release(collection)
    if wanted is None or own is None or wanted == own:
        return ""
    return (
        f"mlflow_stack_package_version is {package}, and the collection's version is {collection}. They are released "
        f"together: the collection calls {PACKAGE} in the images in the form of its own version. Set "
        f"mlflow_stack_package_version to {collection}, leave it out (the images then hold what came with the "
        f"collection), or install version {package} of the collection."
    )


def _release(version: str) -> tuple[tuple[int, ...], str, str] | None:
    found = _RELEASE.fullmatch(version)
    if not found:
        return None
    numbers = [int(number) for number in found[1].split(".")]
    while numbers and not numbers[-1]:
        del numbers[-1]
    return tuple(numbers), found[2], found[3]


def _matching(names: Collection[str], patterns: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)))
