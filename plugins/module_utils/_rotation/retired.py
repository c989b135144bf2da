# SPDX-License-Identifier: GPL-3.0-or-later
"""The SSH keys that a rotation has retired, so that an inventory that still has one does not bring it back.

Each line of the record is a retired key and the one that took its place, as fingerprints.
"""

from __future__ import annotations


def with_retired(record: str, old: str, new: str) -> str:
    """Return the record with one more key that was retired; a key that is in use again is retired no more."""
    kept = [fields for line in record.splitlines() if (fields := line.split())[:1] not in ([old], [new], [])]
    return "".join(f"{' '.join(fields)}\n" for fields in [*kept, [old, new]])


def successor(record: str, key: str) -> str:
    """Return the key that is used in the place of a retired one, through all rotations; empty for any other key."""
    following = {fields[0]: fields[1] for line in record.splitlines() if len(fields := line.split()) == 2}
    seen: set[str] = set()
    while key in following and key not in seen:
        seen.add(key)
        key = following[key]
    return key if seen else ""
