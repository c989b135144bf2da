# SPDX-License-Identifier: Apache-2.0
"""Progress of a transfer in bytes."""

from collections.abc import Callable

# Called with the number of bytes done since the last call.
OnBytes = Callable[[int], None]


def ignore_bytes(count: int) -> None:
    """Ignore progress."""


class HighWaterMark:
    """Passes on how far a transfer came; what is sent a second time does not count again."""

    def __init__(self, on_bytes: OnBytes) -> None:
        self._on_bytes = on_bytes
        self._done = 0
        self._reported = 0

    def __call__(self, count: int) -> None:
        self._done += count
        if self._done > self._reported:
            self._on_bytes(self._done - self._reported)
            self._reported = self._done

    def restart(self) -> None:
        """Begin again at 0."""
        self._done = 0
