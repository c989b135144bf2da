"""An upgrade that closes nothing, stopped at every step and at every write of its record."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import RolledBackError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.engine import RollingEngine
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

from tests.support.stopped_deeds import Killed, StoppedDeeds, interruptions

RECORD = UpgradeRecord(
    id="20260101T000000Z",
    source=Version(image="a:1", revision="r"),
    target=Version(image="a:2", revision="r"),
    store=Store.at("sftp", "proxied", "sftp://me@host:22/a"),
)


@dataclass
class World:
    """What is described, and what serves; the database stays, and somebody logs to it all the time."""

    record: UpgradeRecord = RECORD
    files: str = "before"
    serving: str = "before"
    told: list[str] = field(default_factory=list)


class Deeds(StoppedDeeds[World]):
    """The operations on a world; those of a closed database are none."""

    def save_files(self, record: UpgradeRecord) -> None:
        self._do(None)

    def prepare(self, record: UpgradeRecord) -> None:
        self._do(None)

    def close(self, record: UpgradeRecord) -> float:
        raise AssertionError("MLflow is closed")

    def back_up(self, record: UpgradeRecord) -> None:
        raise AssertionError("nothing is to be brought back")

    migrate = back_up_after = restore_database = replace_postgres = restore_postgres = back_up

    def count(self, record: UpgradeRecord) -> Mapping[str, int]:
        raise AssertionError("nothing is lost, whatever came in")

    def try_candidate(self, record: UpgradeRecord) -> None:
        self._do(None)

    def install_files(self, record: UpgradeRecord) -> None:
        self._do(lambda: setattr(self.world, "files", "after"))

    def open(self, record: UpgradeRecord) -> float:
        self._do(lambda: setattr(self.world, "serving", self.world.files))
        return 0.0

    def verify(self, record: UpgradeRecord) -> None:
        assert self.world.serving == "after"
        self._do(None)

    def installed(self, record: UpgradeRecord) -> str:
        self._do(None)
        return "digest"

    def await_services(self, record: UpgradeRecord) -> None:
        self._do(None)

    def prepare_rollback(self, record: UpgradeRecord) -> None:
        self._do(None)

    def restore_files(self, record: UpgradeRecord) -> None:
        self._do(lambda: setattr(self.world, "files", "before"))

    def tidy(self, record: UpgradeRecord) -> None:
        """Not stopped: whatever it leaves, the next run removes."""


def engine(world: World, deeds: Deeds | None = None) -> RollingEngine:
    return RollingEngine(world.record, deeds or Deeds(world), clock=lambda: 0.0)


def run(world: World, deeds: Deeds, resume: str) -> None:
    """Go on as a later call does, with what the record says."""
    record = world.record
    try:
        stays = resume == "finish" and record.may_stay
        if (record.state == "undoing" and not stays) or (record.interrupted and resume == "undo"):
            engine(world, deeds).undo()
        elif record.state not in ("done", "undone"):
            engine(world, deeds).finish()
    except (CutoverError, Killed):
        pass


def test_nothing_is_closed_and_nothing_counted() -> None:
    world = World()
    done = engine(world).finish()
    assert (world.files, world.serving, done.state, done.closed_seconds) == ("after", "after", "done", 0.0)
    assert "MLflow was closed for 0.0 s" in done.closed


@pytest.mark.parametrize("resume", ["finish", "undo"])
def test_whatever_stops_it_a_later_run_brings_one_side(resume: str) -> None:
    for first, second in itertools.product(interruptions(16), repeat=2):
        world = World()
        run(world, Deeds(world, *first), "finish")
        run(world, Deeds(world, *second), resume)
        for _ in range(3):
            run(world, Deeds(world), resume)
        side = {"planned": "before", "undone": "before", "done": "after"}[world.record.state]
        assert world.files == world.serving == side


def test_what_fails_is_undone_by_itself_also_after_the_servers_were_replaced() -> None:
    class Failing(Deeds):
        def verify(self, record: UpgradeRecord) -> None:
            raise CutoverError("the swarm did not keep what was asked for")

    world = World()
    with pytest.raises(RolledBackError, match=r"did not keep.*was undone: MLflow answers"):
        engine(world, Failing(world)).finish()
    assert (world.files, world.serving, world.record.state) == ("before", "before", "undone")


def test_going_back_takes_no_consent() -> None:
    world = World()
    done = engine(world).finish()
    world.record = done
    again = engine(world)
    again.require_nothing_lost()
    assert again.undo().left_behind == ""
    assert (world.files, world.serving) == ("before", "before")
