"""The deeds of a cutover on a world that a test makes up, stopped at any of them."""

import itertools
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError

KINDS = ("fails", "killed before", "killed after")


class Killed(BaseException):
    """The machine is gone in the middle of a deed, as by SIGKILL or a power cut."""


class HasRecord(Protocol):
    """A world in which a record is kept."""

    record: Any


World = TypeVar("World", bound=HasRecord)


class StoppedDeeds(Generic[World]):
    """The operations on a world; the deed at which the count ends fails, or takes the machine with it.

    Attributes:
        passed: How many deeds were begun.
    """

    def __init__(self, world: World, stop_at: int | None = None, kind: str = "") -> None:
        self.world = world
        self._left = stop_at
        self._kind = kind
        self.passed = 0

    def _do(self, effect: object) -> None:
        self.passed += 1
        stops = self._left is not None and self.passed == self._left + 1
        if stops and self._kind == "fails":
            raise CutoverError("it failed")
        if stops and self._kind == "killed before":
            raise Killed
        if callable(effect):
            effect()
        if stops:
            raise Killed

    def write(self, record: Any) -> None:
        self._do(lambda: setattr(self.world, "record", record))

    def announce(self, step: str) -> None:
        """Nobody looks."""

    def drain(self, record: Any) -> None:
        self._do(None)


def interruptions(deeds: int) -> Iterator[tuple[int, str]]:
    """Every way to stop at one of so many deeds."""
    return itertools.product(range(deeds), KINDS)
