"""A restore into a stack, stopped at every step and at every write of its record."""

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
    UnchangedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.engine import RestoreEngine
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import (
    RestoreRecord,
    Snapshot,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from ansible_collections.freegee.mlflow_sftp.plugins.modules.mlflow_restore import describe
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stopped_deeds import KINDS, Killed, StoppedDeeds, interruptions

STORE = Store.at("local", "direct", "/mlruns")
SNAPSHOT = Snapshot(
    id="6de574a0" * 8,
    time=1_795_809_549.9,
    mlflow="3.13.0",
    schema=("aaa",),
    runs=(1, 1),
    database="sqlite",
    store=STORE,
    has_artifacts=True,
    known={"runs": 1},
)
RECORD = RestoreRecord(id="20260101T000000Z", store=STORE, snapshot=SNAPSHOT, consent=True)


@dataclass
class World:
    """What there is: the runs in the database and its schema, the backup, and what was kept on the way back."""

    record: RestoreRecord = RECORD
    serving: bool = True
    runs: set[str] = field(default_factory=lambda: {"old", "since"})
    schema: str = "current"
    replaced: int = 0
    backup: set[str] | None = None
    kept: set[str] | None = None
    logged: set[str] = field(default_factory=set)
    # Whether somebody logs as soon as MLflow is open on the snapshot.
    busy: bool = False


class Deeds(StoppedDeeds[World]):
    """The operations on a world."""

    def prepare(self, record: RestoreRecord) -> None:
        self._do(None)

    def save_files(self, record: RestoreRecord) -> None:
        self._do(None)

    def close(self, record: RestoreRecord) -> float:
        self._do(lambda: setattr(self.world, "serving", False))
        return 0.0

    def back_up(self, record: RestoreRecord) -> None:
        self._closed()
        if self.world.backup is None:
            self._do(lambda: setattr(self.world, "backup", set(self.world.runs)))

    def restore_snapshot(self, record: RestoreRecord) -> None:
        self._closed()
        assert self.world.record.tried
        assert self.world.backup is not None
        self._do(lambda: self._hold({"old"}, "older"))

    def identify(self, record: RestoreRecord) -> str:
        self._closed()
        self._do(None)
        return f"database {self.world.replaced}"

    def users(self, record: RestoreRecord) -> tuple[str, ...]:
        self._closed()
        self._do(None)
        return ("admin", "bob") if "since" in self.world.runs else ("admin", "eve", "alice")

    def migrate(self, record: RestoreRecord) -> None:
        self._closed()
        self._do(lambda: setattr(self.world, "schema", "current"))

    def try_candidate(self, record: RestoreRecord) -> None:
        self._closed()
        assert self.world.schema == "current"
        self._do(None)

    def count(self, record: RestoreRecord) -> Mapping[str, int]:
        self._do(None)
        # Of tables that a snapshot says nothing of as well.
        return {"runs": len(self.world.runs), "tags": 3}

    def known(self, record: RestoreRecord) -> Mapping[str, int]:
        return {"runs": self.count(record)["runs"]}

    def install_files(self, record: RestoreRecord) -> None:
        assert self.world.record.state == "opening" or self.world.record.may_stay
        self._do(None)

    def open(self, record: RestoreRecord) -> float:
        def start() -> None:
            assert self.world.schema == "current", "MLflow starts on a schema that is not its own"
            self.world.serving = True
            if self.world.busy and "since" not in self.world.runs:
                self.world.runs.add("new")
                self.world.logged.add("new")

        self._do(start)
        return 0.0

    def verify(self, record: RestoreRecord) -> None:
        assert self.world.serving
        self._do(None)

    def await_services(self, record: RestoreRecord) -> None:
        self._do(None)

    def prepare_rollback(self, record: RestoreRecord) -> None:
        self._do(None)

    def back_up_after(self, record: RestoreRecord) -> None:
        self._closed()
        if self.world.kept is None:
            self._do(lambda: setattr(self.world, "kept", set(self.world.runs)))

    def installed(self, record: RestoreRecord) -> str:
        self._do(None)
        return "digest"

    def restore_database(self, record: RestoreRecord) -> None:
        self._closed()
        assert self.world.backup is not None
        self._do(lambda: self._hold(set(self.world.backup or ()), "current"))

    def restore_files(self, record: RestoreRecord) -> None:
        self._closed()
        self._do(None)

    def tidy(self, record: RestoreRecord) -> None:
        """Not stopped: whatever it leaves, the next run removes."""

    def _hold(self, runs: set[str], schema: str) -> None:
        self.world.runs, self.world.schema = runs, schema
        self.world.replaced += 1

    def _closed(self) -> None:
        assert not self.world.serving, "the database changes behind the server"


def run(world: World, deeds: Deeds, resume: str) -> None:
    """Go on as a later call does, with what the record says; what fails is reported, not raised."""
    record = world.record
    engine = RestoreEngine(record, deeds, clock=lambda: 0.0)
    try:
        stays = resume == "finish" and record.may_stay
        if (record.state == "undoing" and not stays) or (record.interrupted and resume == "undo"):
            engine.undo()
        elif record.state not in ("done", "undone"):
            engine.finish()
    except (CutoverError, Killed):
        pass


def require_one_side(world: World) -> None:
    """What comes out is the snapshot, or the database from before, and nothing that was logged is lost."""
    assert world.serving
    assert world.schema == "current"
    if world.record.state == "done":
        # Whatever was interrupted, the result names them.
        assert world.record.returned == ("alice", "eve")
        assert world.runs == {"old"} | world.logged
        assert world.backup == {"old", "since"}
    else:
        assert world.record.state in ("planned", "undone")
        assert world.runs == {"old", "since"}
        assert world.logged <= (world.kept or set())


@pytest.mark.parametrize("resume", ["finish", "undo"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_whatever_stops_it_a_later_run_brings_one_side(resume: str, busy: bool) -> None:
    for first, second in itertools.product(interruptions(24), repeat=2):
        world = World(busy=busy)
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
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 24), st.sampled_from(KINDS), st.sampled_from(["finish", "undo"]))),
)
@settings(max_examples=1000, deadline=None)
def test_interrupted_again_and_again(busy: bool, stops: list[tuple[int, str, str]]) -> None:
    world = World(busy=busy)
    for count, kind, resume in stops:
        run(world, Deeds(world, count, kind), resume)
    for _ in range(3):
        run(world, Deeds(world), "finish")
    require_one_side(world)


def test_what_fails_before_anybody_has_logged_is_undone() -> None:
    passed = Deeds(World())
    RestoreEngine(RECORD, passed, clock=lambda: 0.0).finish()
    # The first four change nothing that would have to be put back.
    for stop_at in range(4, passed.passed):
        world = World()
        with pytest.raises(
            RolledBackError, match=r"it failed.*The restore of snapshot 6de574a0 .* was undone"
        ):
            RestoreEngine(RECORD, Deeds(world, stop_at, "fails"), clock=lambda: 0.0).finish()
        require_one_side(world)
        assert world.record.state == "undone"


def test_users_whom_the_snapshot_brings_back_are_named() -> None:
    told = " ".join(describe(RestoreEngine(RECORD, Deeds(World()), clock=lambda: 0.0).finish()))
    assert "users back who were not there before: alice, eve." in told
    assert "users" not in " ".join(describe(RECORD))


def test_what_came_in_after_the_plan_takes_consent() -> None:
    world = World(RECORD.updated(consent=False))
    with pytest.raises(RolledBackError, match=r"1 runs came in since.*discard=true.*was undone"):
        RestoreEngine(world.record, Deeds(world), clock=lambda: 0.0).finish()
    assert world.backup is None
    require_one_side(world)


def test_where_nothing_came_in_nobody_has_to_consent() -> None:
    world = World(RECORD.updated(consent=False), runs={"old"})
    assert RestoreEngine(world.record, Deeds(world), clock=lambda: 0.0).finish().state == "done"


def test_a_snapshot_that_does_not_go_in_leaves_the_database_alone() -> None:
    class Refusing(Deeds):
        def restore_snapshot(self, record: RestoreRecord) -> None:
            raise UnchangedError("what somebody else made depends on it")

        def restore_database(self, record: RestoreRecord) -> None:
            raise CutoverError("what somebody else made depends on it")

    world = World()
    with pytest.raises(RolledBackError, match="depends on it"):
        RestoreEngine(RECORD, Refusing(world), clock=lambda: 0.0).finish()
    require_one_side(world)


@pytest.mark.parametrize("told", ["database 0", ""], ids=["told", "not told"])
def test_a_kill_before_the_change_leaves_nothing_to_bring_back(told: str) -> None:
    class Barred(Deeds):
        def identify(self, record: RestoreRecord) -> str:
            return told

        def restore_snapshot(self, record: RestoreRecord) -> None:
            raise Killed

        def restore_database(self, record: RestoreRecord) -> None:
            raise CutoverError("what somebody else made depends on it")

    world = World()
    with pytest.raises(Killed):
        RestoreEngine(RECORD, Barred(world), clock=lambda: 0.0).finish()
    assert world.record.tried
    engine = RestoreEngine(world.record, Barred(world), clock=lambda: 0.0)
    if told:
        assert engine.undo().state == "undone"
        require_one_side(world)
    else:
        # Nobody can tell, so the backup has to go in.
        with pytest.raises(StuckError, match="depends on it"):
            engine.undo()


def test_a_database_that_cannot_be_looked_at_is_brought_back() -> None:
    class Damaged(Deeds):
        def migrate(self, record: RestoreRecord) -> None:
            self.identify = self.fail  # type: ignore[method-assign]
            raise CutoverError("no space")

        def fail(self, record: RestoreRecord) -> str:
            raise CutoverError("it is damaged")

    world = World()
    with pytest.raises(RolledBackError, match=r"no space.*was undone"):
        RestoreEngine(RECORD, Damaged(world), clock=lambda: 0.0).finish()
    require_one_side(world)


def test_after_a_kill_nobody_takes_the_database_for_unchanged() -> None:
    class Refusing(Deeds):
        def restore_snapshot(self, record: RestoreRecord) -> None:
            raise UnchangedError("it is in use")

    world = World()
    # At the deed that gives the database the snapshot's content.
    killed = Deeds(world)
    restore = killed.restore_snapshot

    def restore_and_die(record: RestoreRecord) -> None:
        restore(record)
        raise Killed

    killed.restore_snapshot = restore_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        RestoreEngine(RECORD, killed, clock=lambda: 0.0).finish()
    assert world.runs == {"old"}
    with pytest.raises(RolledBackError, match="it is in use"):
        RestoreEngine(world.record, Refusing(world), clock=lambda: 0.0).finish()
    require_one_side(world)


def test_what_came_in_since_is_not_undone_by_itself() -> None:
    class Failing(Deeds):
        def verify(self, record: RestoreRecord) -> None:
            raise CutoverError("no key")

    world = World(busy=True)
    with pytest.raises(StayedError, match=r"no key.*open on snapshot 6de574a0 .*1 runs came in since"):
        RestoreEngine(RECORD, Failing(world), clock=lambda: 0.0).finish()
    assert world.runs == {"old", "new"}
    assert world.record.state == "opening"


def test_undo_takes_consent_and_keeps_what_came_in() -> None:
    world = World(busy=True)
    done = RestoreEngine(RECORD, Deeds(world), clock=lambda: 0.0).finish()
    with pytest.raises(RefusedError, match=r"1 runs came in since.*Nothing was changed.*discard=true"):
        RestoreEngine(done, Deeds(world), clock=lambda: 0.0).require_nothing_lost()
    engine = RestoreEngine(done, Deeds(world), clock=lambda: 0.0, discard=True)
    engine.require_nothing_lost()
    assert "1 runs came in since the restore" in engine.undo().left_behind
    assert world.kept == {"old", "new"}
    require_one_side(world)


def test_a_way_back_that_is_barred_says_so_and_is_gone_later() -> None:
    class Barred(Deeds):
        def try_candidate(self, record: RestoreRecord) -> None:
            raise CutoverError("an artifact is gone")

        def restore_database(self, record: RestoreRecord) -> None:
            raise CutoverError("the disk is full")

    world = World()
    with pytest.raises(
        StuckError, match=r"an artifact is gone.*The rollback failed as well: .*the disk is full"
    ):
        RestoreEngine(RECORD, Barred(world), clock=lambda: 0.0).finish()
    RestoreEngine(world.record, Deeds(world), clock=lambda: 0.0).undo()
    require_one_side(world)
