# SPDX-License-Identifier: Apache-2.0
"""How a large file is written on a server: decided from what is known of it, and once more after a refusal.

Local file systems take blocks in any order over several handles. Object stores, and servers in front of them, take one
handle and bytes at the end only, and know the file when CLOSE is answered. Some servers truncate a file that is opened
for writing a second time.
"""

import enum
from typing import Literal

from mlflow_sftp.errors import SftpError
from mlflow_sftp.wire.server_traits import ServerTraits

# What a server turned out not to do, as ServerTraits names it.
Trait = Literal["opens_twice", "keeps_contents", "writes_anywhere", "queues_writes"]


class WayOfWriting(enum.Enum):
    """From the fastest to the one that every server takes."""

    ANY_ORDER = "several handles, blocks in any order"
    IN_ORDER = "one handle, block after block, several on their way"
    ONE_BY_ONE = "one handle, each block when the one before is acknowledged"


class UnsuitableWayError(Exception):
    """The server does not take a file written in this way, another may suit it; `trait` is what it does not do.

    `error` is what the user is told where no other way is left.
    """

    def __init__(self, trait: Trait, error: SftpError) -> None:
        super().__init__(trait, str(error))
        self.trait: Trait = trait
        self.error = error


def way_of_writing(traits: ServerTraits) -> WayOfWriting:
    """Return the fastest way that is not known to fail."""
    if traits.queues_writes is False:
        return WayOfWriting.ONE_BY_ONE
    fast = False not in (traits.opens_twice, traits.keeps_contents, traits.writes_anywhere)
    return WayOfWriting.ANY_ORDER if fast else WayOfWriting.IN_ORDER


def next_way(way: WayOfWriting, trait: Trait) -> WayOfWriting | None:
    """Return the way to try after one that failed for want of a trait; None where none is left."""
    if way is WayOfWriting.ANY_ORDER:
        return WayOfWriting.IN_ORDER
    if way is WayOfWriting.IN_ORDER and trait == "queues_writes":
        return WayOfWriting.ONE_BY_ONE
    return None


def refused_trait(way: WayOfWriting) -> Trait:
    """Return what a server seems not to do that refuses a WRITE."""
    return "writes_anywhere" if way is WayOfWriting.ANY_ORDER else "queues_writes"


class Flight(enum.Enum):
    """How much of a small file travels without waiting for an answer, from the fastest to what every server takes."""

    WHOLE = "WRITE, FSYNC, FSTAT and CLOSE together"
    WRITES = "WRITEs together; the rest one by one, and the size is asked for when the file is closed"
    SINGLE = "each request when the one before is answered"


def first_flight(traits: ServerTraits) -> Flight:
    """Return the fastest way to write a small file that is not known to fail."""
    if traits.queues_writes is False:
        return Flight.SINGLE
    return Flight.WRITES if False in (traits.keeps_order, traits.answers_fstat) else Flight.WHOLE


def next_flight(flight: Flight) -> Flight | None:
    """Return the way to try once more after one that failed; None where none is left."""
    return {Flight.WHOLE: Flight.WRITES, Flight.WRITES: Flight.SINGLE, Flight.SINGLE: None}[flight]


def learn_from_flight(traits: ServerTraits, flight: Flight) -> None:
    """Remember that a small file could be written in this way, after faster ones had failed."""
    if flight is Flight.WRITES:
        traits.keeps_order = False
    elif flight is Flight.SINGLE:
        traits.queues_writes = False


def may_resume(traits: ServerTraits) -> bool:
    """Tell whether an unfinished file that others may be writing may be opened for writing: only what is known."""
    return way_of_writing(traits) is WayOfWriting.ANY_ORDER and traits.keeps_contents is True


def may_name_resumable(traits: ServerTraits) -> bool:
    """Tell whether an upload may have a name that another process finds again, and might write to."""
    return way_of_writing(traits) is WayOfWriting.ANY_ORDER and traits.honours_exclusive is not False


def needs_proof(*, opened_again: bool, dropped: bool, size_known: bool, distrusted: bool) -> bool:
    """Tell whether a file's contents must be compared before it gets its name, whatever the settings say."""
    return opened_again or dropped or not size_known or distrusted
