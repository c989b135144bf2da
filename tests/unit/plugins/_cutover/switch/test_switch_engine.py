"""The machine under everything that closes MLflow, stopped at every step and at every write of its record."""

import itertools
from dataclasses import dataclass, field, replace

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.engine import (
    RolledBackError,
    StuckError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.engine import (
    SwitchEngine,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import (
    SwitchRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stopped_deeds import KINDS, Killed, StoppedDeeds, interruptions

LOCAL = Store.at("local", "direct", "/mlruns")
SFTP = Store.at("sftp", "direct", "sftp://me@host:22/a")
PROXIED = Store.at("sftp", "proxied", "sftp://me@host:22/a")


@dataclass
class World:
    """What there is: `runs` says which store the database leads to, `stored` what each store holds.

    One run is at the target before, as after an earlier switch of a part.
    """

    record: SwitchRecord
    files: str = "before"
    serving: str = "before"
    saved: bool = False
    runs: dict[str, str] = field(default_factory=lambda: {"old": "source", "there": "target"})
    stored: dict[str, set[str]] = field(default_factory=lambda: {"source": {"old"}, "target": {"there"}})
    logged: int = 0


class Deeds(StoppedDeeds[World]):
    """The operations on a world."""

    def prepare(self, record: SwitchRecord) -> None:
        self._do(None)

    def save_files(self, record: SwitchRecord) -> None:
        assert self.world.files == "before"
        self._do(lambda: setattr(self.world, "saved", True))

    def close(self, record: SwitchRecord) -> float:
        self._do(lambda: setattr(self.world, "serving", ""))
        return 0.0

    def copy_rest(self, record: SwitchRecord) -> None:
        self._closed()
        if record.moves_files:
            self._do(lambda: self.world.stored["target"].update(self.world.stored["source"]))

    def back_up(self, record: SwitchRecord) -> None:
        self._closed()
        self._do(None)

    def relocate(self, record: SwitchRecord) -> None:
        self._closed()
        if record.moves_rows:
            self._do(lambda: self.world.runs.update(old="target"))

    def compare(self, record: SwitchRecord) -> None:
        self._do(None)

    def try_candidate(self, record: SwitchRecord) -> None:
        self._closed()
        assert record.tried
        assert self.world.record.tried
        self._do(lambda: self._log("trial"))

    def install_files(self, record: SwitchRecord) -> None:
        assert self.world.saved
        assert self.world.record.state == "opening"
        self._do(lambda: setattr(self.world, "files", "after"))

    def open(self, record: SwitchRecord) -> float:
        def start() -> None:
            self.world.serving = self.world.files
            self.world.logged += 1
            self._log(f"new {self.world.logged}")

        self._do(start)
        return 0.0

    def verify(self, record: SwitchRecord) -> None:
        assert self.world.serving == "after"
        self._do(None)

    def count_left(self, record: SwitchRecord) -> int:
        self._do(None)
        return 0

    def await_services(self, record: SwitchRecord) -> None:
        self._do(None)

    def prepare_rollback(self, record: SwitchRecord) -> None:
        self._do(None)

    def forget_trial(self, record: SwitchRecord) -> None:
        self._do(lambda: self.world.runs.pop("trial", None))

    def copy_back(self, record: SwitchRecord) -> str:
        self._closed()
        self._do(lambda: self.world.stored["source"].update(self.world.stored["target"]))
        return ""

    def restore_rows(self, record: SwitchRecord) -> None:
        self._closed()
        assert not self.world.record.brought_back
        self._do(lambda: self.world.runs.update(old="source"))

    def relocate_since(self, record: SwitchRecord) -> None:
        self._closed()
        self._do(lambda: self.world.runs.update(dict.fromkeys(self.world.runs, "source")))

    def restore_files(self, record: SwitchRecord) -> None:
        self._closed()
        assert self.world.saved
        self._do(lambda: setattr(self.world, "files", "before"))

    def tidy(self, record: SwitchRecord) -> None:
        """Not stopped: whatever it leaves, the next run removes."""

    def _closed(self) -> None:
        assert self.world.serving == "", "files and rows change behind the server"

    def _log(self, run: str) -> None:
        record = self.world.record
        after = run == "trial" or self.world.files == "after"
        self.world.runs[run] = "target" if after and record.moves_rows else "source"
        self.world.stored["target" if after and record.moves_files else "source"].add(run)


def run(world: World, deeds: Deeds, resume: str) -> None:
    """Go on as a later call does, with what the record says; what fails is reported, not raised."""
    record = world.record
    engine = SwitchEngine(record, deeds, clock=lambda: 0.0)
    try:
        if record.state == "undoing" or (record.interrupted and resume == "undo"):
            engine.undo()
        elif record.state not in ("done", "undone"):
            engine.finish()
    except (RolledBackError, StuckError, CutoverError, Killed):
        pass


def require_one_side(world: World) -> None:
    """What comes out is all before, or all after, and nothing that was logged is lost."""
    side = {"copying": "before", "undone": "before", "done": "after"}[world.record.state]
    assert world.files == side
    assert world.serving == side
    store = "source" if side == "before" else "target"
    moves_rows, moves_files = world.record.moves_rows, world.record.moves_files
    for name, place in world.runs.items():
        # The trial's own run is deleted, and the next purge takes it.
        if name == "trial" or (name == "there" and not (moves_rows and moves_files)):
            continue
        if moves_rows and name != "there":
            assert place == store, (name, world)
        where = place if moves_rows else store
        assert name in world.stored[where if moves_files else "source"], (name, world)


def switch(source: Store, target: Store, **changes: object) -> SwitchRecord:
    return SwitchRecord(id="20260101T000000Z", source=source, target=target, **changes)


SWITCHES = {
    "moved": switch(LOCAL, SFTP),
    "same root": switch(replace(LOCAL, access="proxied", root="mlflow-artifacts:/"), PROXIED),
    "same store": switch(SFTP, PROXIED),
}


@pytest.mark.parametrize("record", SWITCHES.values(), ids=SWITCHES)
@pytest.mark.parametrize("resume", ["finish", "undo"])
def test_whatever_stops_it_a_later_run_brings_one_side(record: SwitchRecord, resume: str) -> None:
    for first, second in itertools.product(interruptions(20), repeat=2):
        world = World(record)
        run(world, Deeds(world, *first), "finish")
        run(world, Deeds(world, *second), resume)
        for _ in range(3):
            run(world, Deeds(world), resume)
        require_one_side(world)


@given(
    st.sampled_from(list(SWITCHES.values())),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(KINDS), st.sampled_from(["finish", "undo"]))),
)
@settings(max_examples=1000, deadline=None)
def test_interrupted_again_and_again(record: SwitchRecord, stops: list[tuple[int, str, str]]) -> None:
    world = World(record)
    for count, kind, resume in stops:
        run(world, Deeds(world, count, kind), resume)
    for _ in range(3):
        run(world, Deeds(world), "finish")
    require_one_side(world)


def test_the_first_error_is_the_one_to_report() -> None:
    world = World(SWITCHES["moved"])
    passed = Deeds(world)
    SwitchEngine(world.record, passed, clock=lambda: 0.0).finish()
    assert world.record.state == "done"
    assert [step["status"] for step in SwitchEngine(world.record, passed).record.steps] == ["ok"] * 12
    for stop_at in range(4, passed.passed):
        world = World(SWITCHES["moved"])
        with pytest.raises(RolledBackError, match=r"it failed.* was undone: MLflow answers"):
            SwitchEngine(world.record, Deeds(world, stop_at, "fails"), clock=lambda: 0.0).finish()
        assert "it failed" in world.record.error


def test_before_it_is_closed_nothing_has_to_be_undone() -> None:
    for stop_at in range(4):
        world = World(SWITCHES["moved"])
        with pytest.raises(CutoverError, match="it failed"):
            SwitchEngine(world.record, Deeds(world, stop_at, "fails"), clock=lambda: 0.0).finish()
        assert (world.files, world.serving, world.record.state) == ("before", "before", "copying")


def test_a_way_back_that_is_barred_says_so_and_is_gone_later() -> None:
    class Barred(Deeds):
        def try_candidate(self, record: SwitchRecord) -> None:
            raise CutoverError("the key is missing")

        def restore_files(self, record: SwitchRecord) -> None:
            raise CutoverError("the disk is full")

    world = World(SWITCHES["moved"])
    with pytest.raises(
        StuckError, match=r"the key is missing.*The rollback failed as well: .*the disk is full.*resume=undo"
    ):
        SwitchEngine(world.record, Barred(world), clock=lambda: 0.0).finish()
    assert world.record.state == "undoing"
    assert "the key is missing" in world.record.error
    SwitchEngine(world.record, Deeds(world), clock=lambda: 0.0).undo()
    require_one_side(world)


def test_a_fault_of_ours_does_not_keep_mlflow_closed() -> None:
    class Faulty(Deeds):
        def compare(self, record: SwitchRecord) -> None:
            raise KeyError("database")

    world = World(SWITCHES["moved"])
    with pytest.raises(
        RolledBackError, match=r"Compare the changed locations with the plan: KeyError: 'database'"
    ):
        SwitchEngine(world.record, Faulty(world), clock=lambda: 0.0).finish()
    require_one_side(world)


def test_a_run_that_was_at_the_target_before_stays_there_if_nobody_was_let_in() -> None:
    class Failing(Deeds):
        def try_candidate(self, record: SwitchRecord) -> None:
            raise CutoverError("it failed")

    world = World(SWITCHES["moved"])
    with pytest.raises(RolledBackError):
        SwitchEngine(world.record, Failing(world), clock=lambda: 0.0).finish()
    assert {name: world.runs[name] for name in ("old", "there")} == {"old": "source", "there": "target"}


def test_once_everything_is_back_the_target_s_older_copies_do_not_come_again() -> None:
    class Counting(Deeds):
        copied_back = 0

        def copy_back(self, record: SwitchRecord) -> str:
            type(self).copied_back += 1
            return super().copy_back(record)

    world = World(SWITCHES["moved"])
    total = Deeds(World(SWITCHES["moved"]))
    SwitchEngine(total.world.record, total, clock=lambda: 0.0).finish()
    with pytest.raises(Killed):
        SwitchEngine(
            world.record, Counting(world, total.passed - 1, "killed before"), clock=lambda: 0.0
        ).finish()
    # The last deed of the way back is to record that it is done.
    with pytest.raises(StuckError):
        SwitchEngine(world.record, Counting(world, 10, "fails"), clock=lambda: 0.0).undo()
    assert (world.serving, world.record.state) == ("before", "undoing")
    SwitchEngine(world.record, Counting(world), clock=lambda: 0.0).undo()
    assert Counting.copied_back == 1
    require_one_side(world)
