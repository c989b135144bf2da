# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking messages of a peer apart: nothing is read that is not there, where paramiko would make up zeros."""

from __future__ import annotations


class MalformedError(Exception):
    """A peer's message that does not hold what it must."""


class Reader:
    """Reads fields from a message, one after another.

    Raises from every method: MalformedError, when the message is shorter.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise MalformedError(f"an answer ends after {len(self._data)} bytes, in the middle of a field")
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self, size: int = 4) -> int:
        """Return a number of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        """Return a string of bytes."""
        return self.take(self.number())

    def text(self) -> str:
        """Return a string for people to read."""
        return self.string().decode("utf-8", "replace")

    @property
    def rest(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._at
