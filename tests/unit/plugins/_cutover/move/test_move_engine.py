"""A move of the database, stopped at every step and at every write of its record."""

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
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.engine import MoveEngine
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    Database,
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import database_place
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stopped_deeds import KINDS, Killed, StoppedDeeds, interruptions

RECORD = MoveRecord(
    id="20260101T000000Z",
    source=Database(database_place("sqlite")),
    target=Database(database_place("postgresql")),
    store=Store.at("sftp", "direct", "sftp://me@host:22/a"),
)


@dataclass
class World:
    """What there is: both databases with their runs, who serves them, and what MLflow answers from."""

    record: MoveRecord = RECORD
    files: str = "before"
    serving: str = "before"
    source: set[str] = field(default_factory=lambda: {"old"})
    # None: there is nothing.
    target: set[str] | None = None
    source_runs: bool = True
    target_runs: bool = False
    logged: set[str] = field(default_factory=set)
    # Whether somebody logs as soon as MLflow is open on the new database.
    busy: bool = False


class Deeds(StoppedDeeds[World]):
    """The operations on a world."""

    def lacks_volume(self, record: MoveRecord) -> bool:
        assert self.world.target is None
        self._do(None)
        return True

    def prepare(self, record: MoveRecord) -> None:
        assert self.world.record.made_volume

        def provide() -> None:
            self.world.target_runs = True
            self.world.target = self.world.target or set()

        self._do(provide)

    def save_files(self, record: MoveRecord) -> None:
        assert self.world.files == "before"
        self._do(None)

    def close(self, record: MoveRecord) -> float:
        self._do(lambda: setattr(self.world, "serving", ""))
        return 0.0

    def empty_target(self, record: MoveRecord) -> None:
        self._closed()
        self._do(lambda: setattr(self.world, "target", set()))

    def copy(self, record: MoveRecord) -> int:
        self._closed()
        assert self.world.target_runs
        # As mlflow-sftp copy-database: an empty target is filled, a copy is compared, anything else refused.
        if self.world.target not in (set(), self.world.source):
            raise CutoverError("is not empty and no copy of the source")
        self._do(lambda: setattr(self.world, "target", set(self.world.source)))
        return len(self.world.source)

    def try_candidate(self, record: MoveRecord) -> None:
        self._closed()
        assert self.world.record.tried
        assert self.world.target is not None
        self._do(lambda: self.world.target.add("round trip"))

    def count(self, record: MoveRecord) -> Mapping[str, int]:
        assert self.world.target_runs
        self._do(None)
        return {"runs": len((self.world.target or set()) - {"round trip"})}

    def install_files(self, record: MoveRecord) -> None:
        assert self.world.record.state == "opening" or self.world.record.may_stay
        self._do(lambda: setattr(self.world, "files", "after"))

    def open(self, record: MoveRecord) -> float:
        def start() -> None:
            # Compose starts the database that MLflow depends on.
            if self.world.files == "after":
                self.world.target_runs = True
                assert "old" in (self.world.target or set())
            else:
                self.world.source_runs = True
            self.world.serving = self.world.files
            if self.world.busy and self.world.files == "after":
                assert self.world.target is not None
                self.world.target.add("new")
                self.world.logged.add("new")

        self._do(start)
        return 0.0

    def verify(self, record: MoveRecord) -> None:
        assert self.world.serving == "after"
        self._do(None)

    def await_services(self, record: MoveRecord) -> None:
        self._do(None)

    def installed(self, record: MoveRecord) -> str:
        self._do(None)
        return "digest"

    def retire_source(self, record: MoveRecord) -> None:
        assert self.world.serving == "after"
        self._do(lambda: setattr(self.world, "source_runs", False))

    def prepare_rollback(self, record: MoveRecord) -> None:
        self._do(None)

    def retire_target(self, record: MoveRecord) -> None:
        self._closed()
        self._do(lambda: setattr(self.world, "target_runs", False))

    def remove_target(self, record: MoveRecord) -> str:
        self._closed()
        assert not self.world.logged, "what was logged is removed"

        def remove() -> None:
            self.world.target, self.world.target_runs = None, False

        self._do(remove)
        return ""

    def restore_files(self, record: MoveRecord) -> None:
        self._closed()
        self._do(lambda: setattr(self.world, "files", "before"))

    def tidy(self, record: MoveRecord) -> None:
        """Not stopped: whatever it leaves, the next run removes."""
        if record.state == "planned" and record.made_volume:
            self.world.target, self.world.target_runs = None, False

    def _closed(self) -> None:
        assert self.world.serving == "", "the database changes behind the server"


def run(world: World, deeds: Deeds, resume: str) -> None:
    """Go on as a later call does, with what the record says; what fails is reported, not raised."""
    record = world.record
    if record.state == "planned":
        # The next plan gives up what was made, and is another record.
        deeds.tidy(record)
        record = world.record = RECORD
    engine = MoveEngine(record, deeds, clock=lambda: 0.0)
    try:
        stays = resume == "finish" and record.may_stay
        if (record.state == "undoing" and not stays) or (record.interrupted and resume == "undo"):
            engine.require_nothing_lost()
            engine.undo()
        elif record.state not in ("done", "undone"):
            engine.finish()
    except (CutoverError, Killed):
        pass


def require_one_side(world: World) -> None:
    """What comes out is all before, or all after, and nothing that was logged is lost."""
    side = {"planned": "before", "undone": "before", "done": "after"}[world.record.state]
    assert world.files == world.serving == side
    # Whatever happens, the database before is only read.
    assert world.source == {"old"}
    assert (world.source_runs, world.target_runs) == (side == "before", side == "after")
    assert world.logged <= (world.target or set())
    if world.record.state == "undone" and not world.record.opened:
        assert world.target is None


def settled(world: World, resume: str) -> None:
    """Run on undisturbed; where somebody logged, going back takes consent, which is not given here."""
    for _ in range(3):
        run(world, Deeds(world), resume)
    if world.record.interrupted:
        assert resume == "undo"
        assert world.logged
        run(world, Deeds(world), "finish")
    require_one_side(world)


@pytest.mark.parametrize("resume", ["finish", "undo"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_whatever_stops_it_a_later_run_brings_one_side(resume: str, busy: bool) -> None:
    for first, second in itertools.product(interruptions(22), repeat=2):
        world = World(busy=busy)
        run(world, Deeds(world, *first), "finish")
        run(world, Deeds(world, *second), resume)
        settled(world, resume)


@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(KINDS), st.sampled_from(["finish", "undo"]))),
)
@settings(max_examples=1000, deadline=None)
def test_interrupted_again_and_again(busy: bool, stops: list[tuple[int, str, str]]) -> None:
    world = World(busy=busy)
    for count, kind, resume in stops:
        run(world, Deeds(world, count, kind), resume)
    settled(world, "finish")


def test_a_move_that_was_killed_after_the_trial_is_finished() -> None:
    world = World()
    deeds = Deeds(world)
    deeds.count = lambda record: (_ for _ in ()).throw(Killed())  # type: ignore[method-assign]
    with pytest.raises(Killed):
        MoveEngine(world.record, deeds, clock=lambda: 0.0).finish()
    assert world.target == {"old", "round trip"}
    MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    assert world.record.state == "done"
    require_one_side(world)


def test_what_fails_before_anybody_has_logged_is_undone() -> None:
    passed = Deeds(World())
    MoveEngine(RECORD, passed, clock=lambda: 0.0).finish()
    # The first six change nothing that would have to be put back.
    for stop_at in range(6, passed.passed):
        world = World()
        with pytest.raises(
            RolledBackError, match=r"it failed.*The move of the database .* was undone: MLflow answers"
        ):
            MoveEngine(RECORD, Deeds(world, stop_at, "fails"), clock=lambda: 0.0).finish()
        require_one_side(world)
        assert world.record.state == "undone"


def failing(world: World, step: str, error: str) -> Deeds:
    deeds = Deeds(world)

    def fail(record: MoveRecord) -> None:
        raise CutoverError(error)

    setattr(deeds, step, fail)
    return deeds


def test_what_came_in_since_is_not_undone_by_itself() -> None:
    world = World(busy=True)
    with pytest.raises(
        StayedError,
        match=r"no key.*open on the stack's PostgreSQL already, and 1 runs came in since.*discard=true",
    ):
        MoveEngine(world.record, failing(world, "verify", "no key"), clock=lambda: 0.0).finish()
    assert (world.serving, world.record.state) == ("after", "opening")


def test_going_back_on_what_came_in_takes_consent_and_keeps_it() -> None:
    world = World(busy=True)
    done = MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    engine = MoveEngine(done, Deeds(world), clock=lambda: 0.0)
    with pytest.raises(
        RefusedError, match=r"1 runs came in since.*Nothing was changed.*discard=true.*stays where it is"
    ):
        engine.require_nothing_lost()
    engine = MoveEngine(done, Deeds(world), clock=lambda: 0.0, discard=True)
    engine.require_nothing_lost()
    record = engine.undo()
    assert "1 runs came in since the move; with that, the database stays at" in record.left_behind
    assert record.kept == RECORD.target
    assert (record.known, record.left) == ({"runs": 1}, {"runs": 2})
    require_one_side(world)


def test_going_back_where_nothing_came_in_takes_no_consent() -> None:
    world = World()
    done = MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    engine = MoveEngine(done, Deeds(world), clock=lambda: 0.0)
    engine.require_nothing_lost()
    # Not everything is counted, a changed tag is not.
    assert engine.undo().kept == RECORD.target
    assert world.target is not None
    require_one_side(world)


def test_an_undo_that_was_killed_on_its_way_counts_no_more() -> None:
    world = World(busy=True)
    done = MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    with pytest.raises(Killed):
        # Closed and counted, and the new database's server is gone.
        MoveEngine(done, Deeds(world, 5, "killed after"), clock=lambda: 0.0, discard=True).undo()
    assert not world.target_runs
    assert not world.record.brought_back
    engine = MoveEngine(world.record, failing(world, "count", "PostgreSQL is stopped"), clock=lambda: 0.0)
    engine.require_nothing_lost()
    assert "1 runs came in" in engine.undo().left_behind
    require_one_side(world)


def test_what_is_logged_after_an_undo_was_killed_is_asked_for_and_can_be_kept() -> None:
    world = World()
    done = MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    with pytest.raises(Killed):
        # Before MLflow is closed.
        MoveEngine(done, Deeds(world, 1, "killed after"), clock=lambda: 0.0).undo()
    assert (world.record.state, world.serving) == ("undoing", "after")
    assert world.target is not None
    world.target.add("new")
    world.logged.add("new")
    engine = MoveEngine(world.record, Deeds(world), clock=lambda: 0.0)
    with pytest.raises(RefusedError, match=r"1 runs came in since.*discard=true.*resume=finish"):
        engine.require_nothing_lost()
    assert MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish().state == "done"
    require_one_side(world)


class LateDeeds(Deeds):
    """Somebody logs right before MLflow is closed."""

    def close(self, record: MoveRecord) -> float:
        assert self.world.target is not None
        self.world.target.add("late")
        self.world.logged.add("late")
        return super().close(record)


def test_what_came_in_until_mlflow_was_closed_is_counted() -> None:
    world = World()
    done = MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    engine = MoveEngine(done, LateDeeds(world), clock=lambda: 0.0)
    engine.require_nothing_lost()
    with pytest.raises(
        StayedError, match=r"^MLflow was open on .* 1 runs came in .*undo=true -e discard=true"
    ):
        engine.undo()
    assert (world.serving, world.record.state) == ("after", "done")
    require_one_side(world)


def test_a_failure_is_not_undone_where_something_came_in_until_mlflow_was_closed() -> None:
    world = World()
    deeds = failing(world, "verify", "no key")
    deeds.prepare_rollback = lambda record: (_ for _ in ()).throw(Killed())  # type: ignore[method-assign]
    with pytest.raises(Killed):
        MoveEngine(world.record, deeds, clock=lambda: 0.0).finish()
    with pytest.raises(
        StayedError, match=r"no key \| MLflow was open .*resume=finish.*resume=undo -e discard=true"
    ):
        MoveEngine(world.record, LateDeeds(world), clock=lambda: 0.0).undo()
    assert (world.serving, world.record.state) == ("after", "opening")
    run(world, Deeds(world), "finish")
    require_one_side(world)


def test_what_is_gone_since_is_a_difference_too() -> None:
    world = World()
    done = MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    assert world.target is not None
    world.target.discard("old")
    with pytest.raises(RefusedError, match="1 fewer runs came in since"):
        MoveEngine(done, Deeds(world), clock=lambda: 0.0).require_nothing_lost()


def test_what_an_earlier_version_did_not_count_is_no_difference() -> None:
    world = World()
    done = MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    deeds = Deeds(world)
    deeds.count = lambda record: {"runs": 1, "tags": 9}  # type: ignore[method-assign]
    MoveEngine(done, deeds, clock=lambda: 0.0).require_nothing_lost()


def test_what_cannot_be_removed_does_not_keep_mlflow_closed() -> None:
    world = World()
    deeds = failing(world, "try_candidate", "a trace is gone")
    deeds.remove_target = lambda record: "the server does not answer"  # type: ignore[method-assign]
    with pytest.raises(RolledBackError, match=r"a trace is gone.*was undone.*the server does not answer"):
        MoveEngine(world.record, deeds, clock=lambda: 0.0).finish()
    assert (world.serving, world.files) == ("before", "before")
    assert world.record.kept == RECORD.target


def test_a_way_back_that_is_barred_says_so_and_is_gone_later() -> None:
    world = World()
    deeds = failing(world, "copy", "params.value holds a NUL character")
    deeds.restore_files = failing(world, "restore_files", "the disk is full").restore_files  # type: ignore[method-assign]
    with pytest.raises(StuckError, match=r"NUL character.*The rollback failed as well: .*the disk is full"):
        MoveEngine(world.record, deeds, clock=lambda: 0.0).finish()
    assert world.record.state == "undoing"
    MoveEngine(world.record, Deeds(world), clock=lambda: 0.0).undo()
    require_one_side(world)
