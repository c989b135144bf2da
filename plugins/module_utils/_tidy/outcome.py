# SPDX-License-Identifier: GPL-3.0-or-later
"""What was tidied of each kind, or would be, for programs and for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Choice

# Of many that go or stay.
_NAMED = 5
# How each kind is called, in the order in which it is tidied.
KINDS = {
    "deleted": "deleted runs, models and experiments",
    "quarantine": "files in the quarantine",
    "uploads": "temporary files of dead uploads",
    "downloads": "temporary downloads of the server",
    "cutovers": "records and backups of cutovers",
    "clusters": "clusters of PostgreSQL that upgrades put aside",
    "images": "images",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one kind.

    Attributes:
        kind: One of `KINDS`.
        count: How many went.
        bytes: How much that was; None where nobody can tell.
        names: Which, where they have names.
        kept: What is old enough and stays, with the reason.
        error: What went wrong; empty for nothing.
        needed: Of images, names or ids of those that stay on each host of the stack, with the reasons.
    """

    kind: str
    count: int = 0
    bytes: int | None = 0
    names: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    needed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_choice(cls, kind: str, choice: Choice, failed: Mapping[str, str] | None = None) -> Outcome:
        """Return the outcome of a choice of which everything went but what `failed`."""
        failed = failed or {}
        gone = [item for item in choice.going if item.name not in failed]
        sizes = [item.bytes for item in gone]
        return cls(
            kind,
            len(gone),
            None if None in sizes else sum(size for size in sizes if size is not None),
            tuple(item.name for item in gone),
            {**(choice.kept or {}), **failed},
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON."""
        return {**vars(self), "names": list(self.names), "kept": dict(self.kept), "needed": dict(self.needed)}

    def lines(self, check: bool) -> list[str]:
        """Return the outcome for people."""
        if self.error:
            return [f"Not tidied: {KINDS[self.kind]}: {self.error}"]
        size = "of unknown size" if self.bytes is None else readable_size(self.bytes)
        did = "would be removed" if check else "removed"
        shown = [*self.names[:_NAMED], *(["..."] if len(self.names) > _NAMED else [])]
        which = f" ({', '.join(shown)})" if shown else ""
        told = [f"{self.count} {KINDS[self.kind]} {did}{f', {size}' if self.count else ''}{which}."]
        told += [f"  stays: {name}: {reason}" for name, reason in list(self.kept.items())[:_NAMED]]
        if len(self.kept) > _NAMED:
            told.append(f"  and {len(self.kept) - _NAMED} more stay")
        return told


def attempt(kind: str, deed: Callable[..., Outcome], *arguments: object) -> Outcome:
    """Return the outcome of a deed, also where it fails."""
    try:
        return deed(*arguments)
    except CutoverError as error:
        return Outcome(kind, error=said(error))
    except OSError as error:
        return Outcome(kind, error=f"{error.filename or 'a file'}: {error.strerror}")


def said(error: CutoverError) -> str:
    """Return an error to be a part of a sentence."""
    return str(error).rstrip(".")


def as_result(outcomes: Sequence[Outcome], check: bool) -> dict[str, Any]:
    """Return what a module returns of all kinds."""
    going = [(outcome, name) for outcome in outcomes for name in outcome.names]
    return {
        # Whatever failed may have removed something before.
        "changed": any(outcome.count or (outcome.error and not check) for outcome in outcomes),
        "tidied": {outcome.kind: outcome.as_dict() for outcome in outcomes},
        "lines": [line for outcome in outcomes for line in outcome.lines(check)],
        "diff": {
            "before": "".join(f"{KINDS[outcome.kind]}: {name}\n" for outcome, name in going),
            "after": "",
        },
    }
