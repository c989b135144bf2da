# SPDX-License-Identifier: Apache-2.0
"""Progress of a transfer in bytes."""

from collections.abc import Callable

# Called with the number of bytes done since the last call.
OnBytes = Callable[[int], None]


def ignore_bytes(count: int) -> None:
    """Ignore progress."""
