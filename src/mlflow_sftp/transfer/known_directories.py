# SPDX-License-Identifier: Apache-2.0
"""Directories that are known to exist on a server, so that they need not be made again for every file."""

from weakref import WeakKeyDictionary

from mlflow_sftp.uri import encode
from mlflow_sftp.wire.connections import Connections

_LIMIT = 10_000


class KnownDirectories:
    """A bounded set of absolute paths; whoever removes a directory has it forgotten."""

    def __init__(self) -> None:
        self._paths: set[bytes] = set()

    def __contains__(self, path: bytes) -> bool:
        return path == b"/" or path in self._paths

    def missing_levels(self, path: str) -> list[bytes]:
        """Return those of a directory and the directories above it that are not known, the highest first."""
        return [level for level in _levels(path) if level not in self._paths]

    def add(self, levels: list[bytes]) -> None:
        """Remember directories."""
        if len(self._paths) > _LIMIT:
            self._paths.clear()
        self._paths.update(levels)

    def forget(self, path: str) -> None:
        """Forget a directory and those above it."""
        self._paths.difference_update(_levels(path))

    def forget_all(self) -> None:
        """Forget everything."""
        self._paths.clear()


_shared: WeakKeyDictionary[Connections, KnownDirectories] = WeakKeyDictionary()


def known_directories(connections: Connections) -> KnownDirectories:
    """Return the directories known to exist on a server, which all roots on these connections share."""
    return _shared.setdefault(connections, KnownDirectories())


def _levels(path: str) -> list[bytes]:
    """Return a directory and all above it but "/", the highest first."""
    parts = encode(path).split(b"/")[1:]
    return [b"/" + b"/".join(parts[: count + 1]) for count in range(len(parts)) if parts[count]]
