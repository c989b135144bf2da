# SPDX-License-Identifier: GPL-3.0-or-later
"""Which artifacts of a snapshot a store lacks, and how restic is told to restore those and no others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.answers import objects
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import ROOT
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.lost import above

# Of patterns in one call: a command line has an end.
_MOST = 500
_SPECIAL = re.compile(r"([\\*?\[])")


def listed(answer: str, entry: str) -> dict[str, int]:
    """Return the files that ``restic ls --json`` lists below an entry of a snapshot, with their sizes in bytes."""
    begin = f"{ROOT}/{entry}/"
    return {
        each["path"].removeprefix(begin): int(each.get("size", 0))
        for each in objects(answer)
        if each.get("type") == "file" and each["path"].startswith(begin)
    }


def lacking(files: Mapping[str, int], present: Collection[str]) -> dict[str, int]:
    """Return the files, of those with their sizes, that are not present."""
    there = frozenset(present)
    return {path: size for path, size in files.items() if path not in there}


def patterns(missing: Collection[str], files: Collection[str], entry: str) -> list[str]:
    """Return what restic is told to include for some files of an entry: their directory where all of it is missing.

    Args:
        missing: The files, relative to the entry.
        files: All that the snapshot has there.
        entry: Of the snapshot.
    """
    there = frozenset(missing)
    kept = {directory for path in files if path not in there for directory in above(path)}
    tops = {next((each for each in above(path) if each not in kept), path) for path in missing}
    return [f"{ROOT}/{entry}/{_escaped(top)}" for top in sorted(tops)]


def batches(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Return so many at a time as one command takes."""
    for start in range(0, len(words), _MOST):
        yield words[start : start + _MOST]


def _escaped(path: str) -> str:
    return _SPECIAL.sub(r"\\\1", path)
