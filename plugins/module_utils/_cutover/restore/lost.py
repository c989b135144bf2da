# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs and models whose files are neither in the store nor in the snapshot: no restore brings them back.

MLflow's database knows of models and tables that they have files. Of what else was logged it has no list, and nobody
can tell that it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import INCOMPLETE, Program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

# What an audit says of a row whose files are not all there.
_LACKING = ("missing", "truncated")
_NAMED = 3


@dataclass(frozen=True)
class Lost:
    """What an audit of database and store has found, without what is brought back.

    Attributes:
        places: Of runs and models, relative to the store, each with what is missing there.
        unknown: Why nobody can tell; empty where it is known.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    unknown: str = ""

    @classmethod
    def of_audit(cls, found: Mapping[str, Any], coming: Collection[str] = ()) -> Lost:
        """Return what is lost.

        Args:
            found: What ``mlflow-sftp audit`` answers.
            coming: Files that are brought back, relative to the store.
        """
        unreadable = [each for each in found["problems"] if each["kind"] == "unreadable"]
        if unreadable:
            return cls(unknown=f"{unreadable[0]['path']}: {unreadable[0]['detail']}")
        back = frozenset(place for path in coming for place in (path, *above(path)))
        return cls(
            {
                each["path"]: each["detail"]
                for each in found["problems"]
                if each["kind"] in _LACKING and each["path"] not in back
            }
        )

    def told(self, whose: str, *, has_artifacts: bool) -> str:
        """Return it as a sentence.

        Args:
            whose: The models and tables that were asked about, as in "of the snapshot".
            has_artifacts: Whether the snapshot has any artifacts.
        """
        if self.unknown:
            return f"Nobody can tell whether models and tables {whose} lack files: {self.unknown}."
        if not self.places:
            where = "in the store or in the snapshot" if has_artifacts else "in the store"
            return (
                f"Every model and table {whose} has its files {where}; of other artifacts MLflow has no list."
            )
        where = (
            "neither the store nor the snapshot has"
            if has_artifacts
            else "the store does not have, and the snapshot holds no artifacts"
        )
        some = "; ".join(f"{path} ({detail})" for path, detail in sorted(self.places.items())[:_NAMED])
        return (
            f"Models and tables {whose} with files that {where}: {len(self.places)}, such as {some}. "
            "No restore of this snapshot brings them back; playbooks/audit.yml names all."
        )


def audited(provide: Callable[[], Program], store: Store, coming: Collection[str] = ()) -> Lost:
    """Compare the database of a program with a store; `coming` are the files that are brought back.

    Where that fails, nobody can tell: it is no reason to end what it is told for.
    """
    try:
        found = provide().call("audit", store.root, "--store", store.uri, accepted=(0, INCOMPLETE))
    except CutoverError as error:
        return Lost(unknown=error.seen.rstrip("."))
    return Lost.of_audit(found, coming)


def above(path: str) -> Iterator[str]:
    """Return the directories above a file, the uppermost first."""
    parts = path.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))
