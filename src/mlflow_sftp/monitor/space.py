# SPDX-License-Identifier: Apache-2.0
"""Whether there is room to go on, in places whose space is known. What nobody tells is neither good nor bad."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Amount:
    """An amount of space: so many bytes, or a fraction of all there is."""

    bytes: int = 0
    fraction: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Amount":
        """Return the amount that a text means, a percentage as ``10%``, or bytes; raises ValueError."""
        number = float(text.removesuffix("%"))
        if not (0 <= number <= 100 if text.endswith("%") else number >= 0 and number.is_integer()):
            raise ValueError(text)
        return cls(fraction=number / 100) if text.endswith("%") else cls(int(number))

    def of(self, total: int | None) -> int:
        """Return it in bytes, of a place that has so many; a fraction of what nobody knows is none."""
        return self.bytes if total is None else max(self.bytes, int(self.fraction * total))


NOTHING = Amount()


@dataclass(frozen=True)
class Space:
    """Free and all bytes of a place; None where nobody tells. `by_quota`, a quota says so, and not the server."""

    free: int | None = None
    total: int | None = None
    by_quota: bool = False

    @classmethod
    def told(cls, facts: Mapping[str, Any], quota: int = 0) -> "Space":
        """Return what `mlflow-sftp info` has told; nothing of it where it cannot be.

        With a quota, the less of both counts: what the server says is free, and what the quota leaves beside the files
        that were counted. Where not all could be listed, or nothing was counted, the quota says nothing.
        """
        store = facts.get("store", {})
        free, total = store.get("free_bytes"), store.get("total_bytes")
        impossible = free is not None and total is not None and not 0 <= free <= total
        # A file system without a byte is one of a server that does not know.
        space = cls() if impossible or total == 0 else cls(free, total)
        used = None if store.get("unreadable") else store.get("bytes")
        if not quota or used is None:
            return space
        left = max(0, quota - used)
        # Nor does a server know that tells of no free byte at all, since somebody could count what is there.
        return space if space.free and space.free < left else cls(left, quota, by_quota=True)

    def cause(self, warn: Amount, refuse: Amount) -> str | None:
        """Return the code of what is wrong, as a verification names it; empty for nothing, None where nobody knows."""
        if self.free is None:
            return None
        if self.free < refuse.of(self.total):
            return "space_reserved"
        return "space_low" if self.free < warn.of(self.total) else ""

    def __str__(self) -> str:
        whole = f" of {self.total / (1 << 30):.2f}" if self.total is not None else ""
        by = " by the quota" if self.by_quota else ""
        return f"{(self.free or 0) / (1 << 30):.2f}{whole} GiB are free{by}"
