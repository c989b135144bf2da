"""An upgrade, stopped at every step and at every write of its record."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.engine import StayedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import (
    RolledBackError,
    StuckError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.engine import UpgradeEngine
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stopped_deeds import KINDS, Killed, StoppedDeeds, interruptions

STORE = Store.at("sftp", "direct", "sftp://me@host:22/a")


@dataclass
class World:
    """What there is: the schema that the database has, the runs in it, which cluster PostgreSQL uses, the backup."""

    record: UpgradeRecord
    files: str = "before"
    serving: str = "before"
    schema: str = "before"
    cluster: str = "before"
    postgres: str = "before"
    runs: set[str] = field(default_factory=lambda: {"old"})
    backup: set[str] | None = None
    kept: set[str] | None = None
    logged: set[str] = field(default_factory=set)
    # Whether somebody logs as soon as MLflow is open.
    busy: bool = False


class Deeds(StoppedDeeds[World]):
    """The operations on a world."""

    def prepare(self, record: UpgradeRecord) -> None:
        self._do(None)

    def save_files(self, record: UpgradeRecord) -> None:
        assert self.world.files == "before"
        self._do(None)

    def close(self, record: UpgradeRecord) -> float:
        self._do(lambda: setattr(self.world, "serving", ""))
        return 0.0

    def back_up(self, record: UpgradeRecord) -> None:
        self._closed()
        if self.world.backup is None:
            assert self.world.schema == "before"
            self._do(lambda: setattr(self.world, "backup", set(self.world.runs)))

    def replace_postgres(self, record: UpgradeRecord) -> None:
        self._closed()
        assert self.world.record.tried

        def replace() -> None:
            self.world.postgres = "after"
            if not record.replaces_cluster:
                return
            self.world.cluster = "after"
            self.world.runs, self.world.schema = set(self.world.backup or ()), "before"

        self._do(replace)

    def migrate(self, record: UpgradeRecord) -> None:
        self._closed()
        assert self.world.record.tried
        assert self.world.backup is not None
        self._do(lambda: setattr(self.world, "schema", "after"))

    def try_candidate(self, record: UpgradeRecord) -> None:
        self._closed()
        assert self.world.schema == "after"
        self._do(None)

    def count(self, record: UpgradeRecord) -> Mapping[str, int]:
        self._do(None)
        return {"runs": len(self.world.runs)}

    def install_files(self, record: UpgradeRecord) -> None:
        assert self.world.record.state == "opening" or self.world.record.may_stay
        self._do(lambda: setattr(self.world, "files", "after"))

    def open(self, record: UpgradeRecord) -> float:
        def start() -> None:
            assert self.world.schema == self.world.files, "MLflow starts on a schema that is not its own"
            self.world.serving = self.world.files
            if self.world.busy and self.world.files == "after":
                self.world.runs.add("new")
                self.world.logged.add("new")

        self._do(start)
        return 0.0

    def verify(self, record: UpgradeRecord) -> None:
        assert self.world.serving == "after"
        self._do(None)

    def await_services(self, record: UpgradeRecord) -> None:
        self._do(None)

    def prepare_rollback(self, record: UpgradeRecord) -> None:
        self._do(None)

    def back_up_after(self, record: UpgradeRecord) -> None:
        self._closed()
        if self.world.kept is None:
            self._do(lambda: setattr(self.world, "kept", set(self.world.runs)))

    def restore_postgres(self, record: UpgradeRecord) -> None:
        self._closed()

        def restore() -> None:
            self.world.postgres = "before"
            if self.world.cluster == "after":
                self.world.cluster, self.world.schema = "before", "before"
                self.world.runs = set(self.world.backup or ())

        self._do(restore)

    def installed(self, record: UpgradeRecord) -> str:
        self._do(None)
        return "digest"

    def restore_database(self, record: UpgradeRecord) -> None:
        self._closed()
        assert self.world.postgres == "before"
        assert self.world.backup is not None

        def restore() -> None:
            self.world.runs, self.world.schema = set(self.world.backup or ()), "before"

        self._do(restore)

    def restore_files(self, record: UpgradeRecord) -> None:
        self._closed()
        self._do(lambda: setattr(self.world, "files", "before"))

    def tidy(self, record: UpgradeRecord) -> None:
        """Not stopped: whatever it leaves, the next run removes."""

    def _closed(self) -> None:
        assert self.world.serving == "", "the database changes behind the server"


def upgrade(before: str = "", after: str = "") -> UpgradeRecord:
    source = Version(image="a:1", postgres_image=before and "p:1", postgres=before)
    target = Version(image="a:2", postgres_image=after and "p:2", postgres=after)
    return UpgradeRecord(id="20260101T000000Z", source=source, target=target, store=STORE)


UPGRADES = {
    "SQLite": upgrade(),
    "same PostgreSQL": upgrade("15", "15"),
    "next PostgreSQL": upgrade("15", "17"),
}


def run(world: World, deeds: Deeds, resume: str) -> None:
    """Go on as a later call does, with what the record says; what fails is reported, not raised."""
    record = world.record
    engine = UpgradeEngine(record, deeds, clock=lambda: 0.0)
    try:
        stays = resume == "finish" and record.may_stay
        if (record.state == "undoing" and not stays) or (record.interrupted and resume == "undo"):
            engine.undo()
        elif record.state not in ("done", "undone"):
            engine.finish()
    except (CutoverError, Killed):
        pass


def require_one_side(world: World) -> None:
    """What comes out is all before, or all after, and nothing that was logged is lost."""
    side = {"planned": "before", "undone": "before", "done": "after"}[world.record.state]
    assert world.files == world.serving == world.schema == side
    assert world.postgres == (side if world.record.changes_postgres else "before")
    assert world.cluster == (side if world.record.replaces_cluster else "before")
    assert "old" in world.runs
    assert world.logged <= world.runs | (world.kept or set())


@pytest.mark.parametrize("record", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("resume", ["finish", "undo"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_whatever_stops_it_a_later_run_brings_one_side(
    record: UpgradeRecord, resume: str, busy: bool
) -> None:
    for first, second in itertools.product(interruptions(22), repeat=2):
        world = World(record, busy=busy)
        run(world, Deeds(world, *first), "finish")
        run(world, Deeds(world, *second), resume)
        for _ in range(3):
            run(world, Deeds(world), resume)
        if world.record.interrupted:
            # Going back takes consent, which is not given here.
            assert world.logged
            run(world, Deeds(world), "finish")
        require_one_side(world)


@given(
    st.sampled_from(list(UPGRADES.values())),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 22), st.sampled_from(KINDS), st.sampled_from(["finish", "undo"]))),
)
@settings(max_examples=1000, deadline=None)
def test_interrupted_again_and_again(
    record: UpgradeRecord, busy: bool, stops: list[tuple[int, str, str]]
) -> None:
    world = World(record, busy=busy)
    for count, kind, resume in stops:
        run(world, Deeds(world, count, kind), resume)
    for _ in range(3):
        run(world, Deeds(world), "finish")
    require_one_side(world)


@pytest.mark.parametrize("record", UPGRADES.values(), ids=UPGRADES)
def test_what_fails_before_anybody_has_logged_is_undone(record: UpgradeRecord) -> None:
    passed = Deeds(World(record))
    UpgradeEngine(record, passed, clock=lambda: 0.0).finish()
    # The first four change nothing that would have to be put back.
    for stop_at in range(4, passed.passed):
        world = World(record)
        with pytest.raises(
            RolledBackError, match=r"it failed.*The upgrade from .* was undone: MLflow answers"
        ):
            UpgradeEngine(record, Deeds(world, stop_at, "fails"), clock=lambda: 0.0).finish()
        require_one_side(world)
        assert world.record.state == "undone"


def failing_after_opening(world: World) -> Deeds:
    class Failing(Deeds):
        def verify(self, record: UpgradeRecord) -> None:
            raise CutoverError("no key")

    return Failing(world)


def test_what_came_in_since_is_not_undone_by_itself() -> None:
    world = World(UPGRADES["SQLite"], busy=True)
    with pytest.raises(StayedError, match=r"no key.*1 runs came in since.*resume=finish.*discard=true"):
        UpgradeEngine(world.record, failing_after_opening(world), clock=lambda: 0.0).finish()
    assert (world.serving, world.record.state, "new" in world.runs) == ("after", "opening", True)


def test_what_cannot_be_counted_is_not_nothing() -> None:
    class Blind(Deeds):
        counted = 0

        def verify(self, record: UpgradeRecord) -> None:
            raise CutoverError("no key")

        def count(self, record: UpgradeRecord) -> Mapping[str, int]:
            self.counted += 1
            if self.counted > 1:
                raise CutoverError("no answer")
            return super().count(record)

    world = World(UPGRADES["SQLite"])
    with pytest.raises(StayedError, match=r"no key.*nobody knows how much .*no answer"):
        UpgradeEngine(world.record, Blind(world), clock=lambda: 0.0).finish()


def test_going_back_on_what_came_in_takes_consent_and_keeps_it() -> None:
    world = World(UPGRADES["SQLite"], busy=True)
    done = UpgradeEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    engine = UpgradeEngine(done, Deeds(world), clock=lambda: 0.0)
    with pytest.raises(RefusedError, match=r"1 runs came in since.*Nothing was changed.*discard=true"):
        engine.require_nothing_lost()
    engine = UpgradeEngine(done, Deeds(world), clock=lambda: 0.0, discard=True)
    engine.require_nothing_lost()
    record = engine.undo()
    assert world.kept == {"old", "new"}
    assert world.runs == {"old"}
    assert "1 runs came in since the upgrade" in record.left_behind
    require_one_side(world)


def test_what_came_in_until_mlflow_was_closed_is_counted() -> None:
    class Late(Deeds):
        def close(self, record: UpgradeRecord) -> float:
            self.world.runs.add("late")
            return super().close(record)

    world = World(UPGRADES["SQLite"])
    done = UpgradeEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    engine = UpgradeEngine(done, Late(world), clock=lambda: 0.0)
    engine.require_nothing_lost()
    with pytest.raises(StayedError, match=r"1 runs came in since, so nothing was undone"):
        engine.undo()
    assert (world.serving, world.record.state, world.runs) == ("after", "done", {"old", "late"})


def test_a_failure_gives_nothing_up_whatever_was_consented_to() -> None:
    class LateAndBroken(Deeds):
        def verify(self, record: UpgradeRecord) -> None:
            raise CutoverError("no round trip")

        def close(self, record: UpgradeRecord) -> float:
            if record.opened:
                self.world.runs.add("late")
            return super().close(record)

    world = World(UPGRADES["SQLite"])
    engine = UpgradeEngine(world.record, LateAndBroken(world), clock=lambda: 0.0, discard=True)
    with pytest.raises(CutoverError, match=r"1 runs came in since, so nothing was undone"):
        engine.finish()
    assert (world.serving, world.runs) == ("after", {"old", "late"})


def test_going_back_where_nothing_came_in_takes_no_consent() -> None:
    world = World(UPGRADES["next PostgreSQL"])
    done = UpgradeEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    engine = UpgradeEngine(done, Deeds(world), clock=lambda: 0.0)
    engine.require_nothing_lost()
    assert engine.undo().left_behind == ""
    # Not everything is counted.
    assert world.kept == {"old"}
    require_one_side(world)


def test_a_way_back_that_is_barred_says_so_and_is_gone_later() -> None:
    class Barred(Deeds):
        def try_candidate(self, record: UpgradeRecord) -> None:
            raise CutoverError("a trace is gone")

        def restore_database(self, record: UpgradeRecord) -> None:
            raise CutoverError("the disk is full")

    world = World(UPGRADES["SQLite"])
    with pytest.raises(StuckError, match=r"a trace is gone.*The rollback failed as well: .*the disk is full"):
        UpgradeEngine(world.record, Barred(world), clock=lambda: 0.0).finish()
    assert world.record.state == "undoing"
    UpgradeEngine(world.record, Deeds(world), clock=lambda: 0.0).undo()
    require_one_side(world)


def test_an_undo_that_was_killed_on_its_way_counts_no_more() -> None:
    class Stopped(Deeds):
        def count(self, record: UpgradeRecord) -> Mapping[str, int]:
            raise CutoverError("PostgreSQL is stopped")

    world = World(UPGRADES["next PostgreSQL"], busy=True)
    done = UpgradeEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    deeds = Deeds(world)
    deeds.restore_postgres = lambda record: (_ for _ in ()).throw(Killed())  # type: ignore[method-assign]
    with pytest.raises(Killed):
        UpgradeEngine(done, deeds, clock=lambda: 0.0, discard=True).undo()
    engine = UpgradeEngine(world.record, Stopped(world), clock=lambda: 0.0)
    engine.require_nothing_lost()
    assert "1 runs came in" in engine.undo().left_behind
    assert world.kept == {"old", "new"}
    require_one_side(world)


def test_what_cannot_be_kept_takes_consent_to_be_given_up() -> None:
    class Full(Deeds):
        def back_up_after(self, record: UpgradeRecord) -> None:
            raise CutoverError("the disk is full")

    world = World(UPGRADES["SQLite"])
    done = UpgradeEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    with pytest.raises(StuckError, match="the disk is full"):
        UpgradeEngine(done, Full(world), clock=lambda: 0.0).undo()
    record = UpgradeEngine(world.record, Full(world), clock=lambda: 0.0, discard=True).undo()
    assert "could not be kept: " in record.left_behind
    assert (world.files, world.serving, world.schema) == ("before", "before", "before")
