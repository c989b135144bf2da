# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether there is room to go on: in places whose space is known, against limits of percents or bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import readable_size
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.amounts import (
    EXPECTED,
    parse_amount,
)

# From good to bad; what nobody knows is neither.
LEVELS = ("unknown", "ok", "low", "full")


@dataclass(frozen=True)
class Amount:
    """An amount of space: so many bytes, or a fraction of all there is."""

    bytes: int = 0
    fraction: float = 0.0

    @classmethod
    def parse(cls, text: str, name: str) -> Amount:
        """Return the amount that a text means, as ``10%``, ``5G``, ``100B`` or 0; `name` is the variable's.

        Raises:
            RefusedError: It means none.
        """
        meant = parse_amount(text)
        if meant is None:
            raise RefusedError(f"{name} is '{text}'; {EXPECTED}. Nothing was changed")
        return cls(*meant)

    def of(self, total: int | None) -> int:
        """Return it in bytes, of a place that has so many; a fraction of what nobody knows is none."""
        return self.bytes if total is None else max(self.bytes, int(self.fraction * total))


# Of the disk of the stack's directory, beside a backup of the database. No fraction of it: that would refuse the very
# switch that moves artifacts away from there.
HOST_RESERVE = Amount(64 << 20)


@dataclass(frozen=True)
class Limits:
    """Below which amount of free space somebody is warned, and nothing big is begun."""

    warn: Amount
    refuse: Amount

    @classmethod
    def parse(cls, warn: str, refuse: str) -> Limits:
        """Return the limits that two variables mean; raises RefusedError."""
        return cls(
            Amount.parse(warn, "mlflow_stack_capacity_warn"),
            Amount.parse(refuse, "mlflow_stack_capacity_refuse"),
        )


@dataclass(frozen=True)
class Place:
    """Where something is kept.

    Attributes:
        name: For people.
        free: Free bytes; None where nobody tells.
        total: All bytes; None where nobody tells.
        used: Bytes of what is ours; None where nobody has counted.
        quota: Whether a quota says what is free, and not the server.
        reason: Why nothing is known; empty where something is, or nobody says why.

    Where more is free than there is, one of both is wrong, and nothing is known.
    """

    name: str
    free: int | None = None
    total: int | None = None
    used: int | None = None
    quota: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        """Believe nothing that cannot be."""
        if self.free is not None and self.total is not None and not 0 <= self.free <= self.total:
            object.__setattr__(self, "reason", f"it tells of {self.free} free bytes of {self.total}")
            object.__setattr__(self, "free", None)
            object.__setattr__(self, "total", None)

    def level(self, limits: Limits) -> str:
        """Return one of `LEVELS`."""
        if self.free is None:
            return "unknown"
        if self.free < limits.refuse.of(self.total):
            return "full"
        return "low" if self.free < limits.warn.of(self.total) else "ok"

    def __str__(self) -> str:
        by = " by its quota" if self.quota else ""
        if self.free is None:
            space = f"how much is free is not known{f' ({self.reason})' if self.reason else ''}"
        elif self.total is None:
            space = f"{readable_size(self.free)} free{by}"
        else:
            space = f"{readable_size(self.free)} of {readable_size(self.total)} free{by}"
        used = "" if self.used is None else f", {readable_size(self.used)} in use"
        return f"{self.name}: {space}{used}"


def with_quota(place: Place, quota: int) -> Place:
    """Return a place of which only a quota may be used; 0 is no quota, and what nobody counted stays unknown.

    A server that tells of no free byte at all most likely does not know, since somebody could count what is there.
    """
    if not quota or place.used is None:
        return place
    left = max(0, quota - place.used)
    if place.free and place.free < left:
        return place
    return Place(place.name, left, quota, place.used, quota=True)


def fits(place: Place, needed: int, refuse: Amount) -> bool:
    """Tell whether so many bytes more leave as much free as has to stay free, or nobody knows."""
    return place.free is None or place.free - needed >= refuse.of(place.total)


def reserve(place: Place, refuse: Amount) -> str:
    """Return how much has to stay free, to be said behind how much is free; empty for nothing."""
    kept = refuse.of(place.total)
    by = "" if refuse == HOST_RESERVE else " (mlflow_stack_capacity_refuse)"
    return f", of which {readable_size(kept)} have to stay free{by}" if kept else ""


def findings(places: Iterable[Place], limits: Limits, *levels: str) -> Iterator[str]:
    """Yield the places that are of one of some levels, for people."""
    return (str(place) for place in places if place.level(limits) in levels)


def worst(places: Iterable[Place], limits: Limits) -> str:
    """Return the worst level of some places; ``ok`` where nobody knows anything bad."""
    return max((place.level(limits) for place in places), key=LEVELS.index, default="ok").replace(
        "unknown", "ok"
    )
