# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go, and what stays whatever its age because something still needs it."""

from __future__ import annotations

import calendar
import contextlib
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.record import (
    DatabaseRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.in_place.record import (
    InPlaceRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import MoveRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import (
    BEGUN,
    ID_FORMAT,
    Record,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.decisions import copies
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import SwitchRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.times import readable_time
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

_DAY = 86400.0
# A century; more is beyond the first year of some clocks.
MOST_DAYS = 36500
# Between two runs; longer than anybody's schedule.
_MOST_APART = 400
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z")
# How the roles name images.
_OWN_NAMES = "freegee/"
# Of which nothing can be undone or gone on with.
_SETTLED = ("planned", "done", "undone")


@dataclass(frozen=True)
class Days:
    """For how many days each kind stays; 0 keeps it for ever.

    Attributes:
        deleted: Runs, models and experiments that users deleted.
        cutovers: Records and backups of cutovers, the clusters that they put aside, and images.
        quarantine: What audits moved aside.
        downloads: What MLflow's server downloaded into its temporary directory.
        uploads: What dead uploads left in the store.
    """

    deleted: int = 0
    cutovers: int = 0
    quarantine: int = 0
    downloads: int = 0
    uploads: int = 0

    def __post_init__(self) -> None:
        """Refuse what means no time, such as true, which Python and Jinja take for 1."""
        wrong = [f"{name}_days is {value}" for name, value in vars(self).items() if not _is_days(value)]
        if wrong:
            raise RefusedError(
                f"{', '.join(wrong)}. Nothing was changed",
                f"Give a number of days, {MOST_DAYS} at most, or 0 to keep everything",
            )


def _is_days(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_DAYS


@dataclass(frozen=True)
class Item:
    """What might go.

    Attributes:
        name: For people, and for whoever deletes it.
        days: How old it is.
        bytes: How much it takes; None where that is not known.
        needed: Why it stays whatever its age; empty for no reason.
    """

    name: str
    days: float
    bytes: int | None = None
    needed: str = ""


@dataclass(frozen=True)
class Choice:
    """What goes, and what is old enough and stays, with the reason."""

    going: tuple[Item, ...] = ()
    kept: Mapping[str, str] | None = None


def choose(items: Iterable[Item], days: int) -> Choice:
    """Choose what is older than so many days and not needed; 0 days choose nothing."""
    old = [item for item in items if days and item.days > days]
    return Choice(
        tuple(item for item in old if not item.needed),
        {item.name: item.needed for item in old if item.needed},
    )


def is_id(name: str) -> bool:
    """Tell whether a name is that of a cutover's directory."""
    return _ID.fullmatch(name) is not None


def age_of(cutover: str, now: float) -> float:
    """Return how many days ago a cutover was begun, by its id; `now` is in seconds since 1970."""
    return (now - begun_at(cutover)) / _DAY


def begun_at(cutover: str) -> int:
    """Return when a cutover was begun, by its id, in seconds since 1970."""
    return calendar.timegm(time.strptime(cutover, ID_FORMAT))


def restorable(records: Sequence[Record], days: int, now: float) -> DatabaseRecord | None:
    """Return the earliest cutover whose undo gives MLflow the database from before it, if any.

    In that, what was deleted since is not deleted. After so many days, the age at which other cutovers go, nobody is
    expected to give up all that was logged since; with 0, it may be undone for ever.
    """
    done = [record for record in records if isinstance(record, DatabaseRecord) and record.state == "done"]
    last = {record.NAME: record for record in done}
    # Each restore can be undone, one after the other.
    undoable = [*last.values(), *(record for record in done if isinstance(record, RestoreRecord))]
    young = [record for record in undoable if not days or age_of(record.id, now) <= days]
    return min(young, key=lambda record: record.id, default=None)


def require_no_leap(last: float | None, now: float) -> None:
    """Refuse to tidy up where the clock may have been set forward by years: then all that was deleted looks old.

    Args:
        last: When the stack was last tidied up, in seconds since 1970; None for never, which tells nothing.
        now: Likewise.

    Raises:
        RefusedError: So much time has passed that the clock is the likelier reason.
    """
    apart = 0.0 if last is None else (now - last) / _DAY
    if apart > _MOST_APART:
        raise RefusedError(
            f"The clock of this host says {readable_time(now)}, {apart:.0f} days after this stack was last tidied up. "
            "If it was set forward, what users deleted yesterday would be taken for old and removed for good. Nothing "
            "was changed",
            "Put the clock right; or, if it is and nobody has tidied up for so long, run playbooks/tidy.yml "
            "-e clock_is_right=true once",
        )


def age_at(created: str, now: float) -> float | None:
    """Return how many days ago something was made, by a time as Docker writes it; None where it is none."""
    # Nanoseconds are more than Python 3.10 reads.
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?$", created)
    if match is None:
        return None
    zone = "+00:00" if match[2] in (None, "Z") else match[2]
    return (now - datetime.fromisoformat(match[1] + zone).timestamp()) / _DAY


def needed_cutovers(
    records: Sequence[Record], deployed: Store, pruned: Collection[str] = ()
) -> dict[str, str]:
    """Return the cutovers that something still needs, by their ids, each with the reason.

    Args:
        records: All of the stack, the earliest first.
        deployed: The store that is deployed.
        pruned: Ids of switches whose old copy is gone for good.
    """
    needed: dict[str, str] = {}
    for record in records:
        if record.state not in _SETTLED:
            needed[record.id] = f"the {record.NAME} is not settled: it is {record.state}"
    for record in records:
        if reason := _only_copy(record):
            needed.setdefault(record.id, reason)
    done = [record for record in records if record.state == "done"]
    for record in {record.NAME: record for record in done}.values():
        needed.setdefault(record.id, f"it is the last {record.NAME}, which can be undone")
    if records:
        needed.setdefault(records[-1].id, "it is the last cutover")
    for record in _led_here(done, deployed):
        needed.setdefault(record.id, "it is the last switch to the deployed store, which can be undone")
    with contextlib.suppress(RefusedError):
        for record in copies(records, deployed):
            if record.id not in pruned:
                needed.setdefault(record.id, "storage_prune.yml needs it to delete the old copy")
    for record in records:
        if isinstance(record, MoveRecord) and record.kept is not None:
            needed.setdefault(record.id, f"database_prune.yml needs it to delete {record.kept}")
    for record in records:
        if record.id in needed and isinstance(record, SwitchRecord) and record.undoes:
            needed.setdefault(
                record.undoes, f"the switch {record.id} undoes it, and goes back with its journal"
            )
    return needed


def _only_copy(record: Record) -> str:
    """Return what the way back of a cutover left that is nowhere else; empty for nothing."""
    if record.left_behind:
        return record.left_behind
    if isinstance(record, RestoreRecord) and record.state == "done" and record.consent:
        return f"the database that the {record.title} gave up is beside the record"
    if isinstance(record, InPlaceRecord) and record.kept:
        return "the database that was given up was kept beside the record"
    return ""


def _led_here(done: Sequence[Record], deployed: Store) -> list[SwitchRecord]:
    """Return the last switch to the deployed store, if any."""
    return [each for each in done if isinstance(each, SwitchRecord) and each.target == deployed][-1:]


@dataclass(frozen=True)
class Image:
    """An image that was made for the stack.

    Attributes:
        id: Of the engine.
        tags: Its names; none where another image has got its name.
        days: How old it is; None where nobody knows.
        bytes: Its size; layers that it shares with others are part of it.
        used: Whether a container, running or not, is made of it.
    """

    id: str
    tags: tuple[str, ...]
    days: float | None
    bytes: int
    used: bool

    @property
    def name(self) -> str:
        """Its first name, or its id."""
        return min(self.tags, default=self.id)


def planned_images(records: Iterable[Record]) -> dict[str, str]:
    """Return the images that upgrades lead to which have not changed anything yet, each with the reason to keep it."""
    return {
        image: f"the upgrade {record.id} is planned, and leads to it"
        for record in records
        if isinstance(record, UpgradeRecord) and record.state in BEGUN
        for image in record.target.images
    }


def image_items(images: Iterable[Image], needed: Mapping[str, str]) -> list[Item]:
    """Return images as what might go; `needed` has the names or ids of those that stay, with the reasons."""
    return [
        Item(image.name, image.days, image.bytes, _need(image, needed))
        for image in images
        if image.days is not None
    ]


def _need(image: Image, needed: Mapping[str, str]) -> str:
    # A swarm's services name theirs by its id.
    reasons = [needed[name] for name in (*image.tags, image.id) if name in needed]
    if reasons:
        return reasons[0]
    if image.used:
        return "a container is made of it"
    strange = [tag for tag in image.tags if not tag.startswith(_OWN_NAMES)]
    return f"somebody has named it {strange[0]}" if strange else ""


def cluster_id(name: str) -> str:
    """Return the id of the upgrade that put a cluster of PostgreSQL aside; empty for another directory."""
    begun = name.rpartition("-")[2]
    return begun if re.fullmatch(r"cluster-[0-9]+-[0-9]{8}T[0-9]{6}Z", name) else ""


def cluster_items(sizes: Mapping[str, int], needed: Mapping[str, str], now: float) -> list[Item]:
    """Return clusters that upgrades put aside as what might go; `needed` has the upgrades that something needs."""
    return [
        Item(name, age_of(begun, now), size, needed.get(begun, ""))
        for name, size in sizes.items()
        if (begun := cluster_id(name))
    ]
