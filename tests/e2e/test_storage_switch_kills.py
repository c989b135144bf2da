"""A switch, killed (-9) at many points: it is finished or undone, and nothing is left between the stores.

Some three minutes a point, so it only runs when asked for: pytest -m sweep tests/e2e.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.lab import Lab
from tests.support.stack import SWITCH, Stack, filled_stack, passes

pytestmark = [pytest.mark.lab, pytest.mark.sweep, pytest.mark.timeout(1800)]

SFTP = "sftp://freegee@tajo.host.ch:13241/agent.freegee.ch/artifacts"
STORES = {"/mlruns": "local", SFTP: "sftp"}


@dataclass(frozen=True)
class Kill:
    """At which task, how many seconds after it began, and what is done about it later."""

    task: str
    seconds: float
    resume: str

    def __str__(self) -> str:
        return f"{self.task} +{self.seconds} s, {self.resume}"


KILLS = [
    Kill("Check whether the copy has ended", 0, "again"),
    Kill("Archive the stack's files from before the switch", 0, "again"),
    Kill("Stop the services", 0, "undo"),
    Kill("Stop the services", 1, "finish"),
    Kill("Start the maintenance page", 0.5, "finish"),
    Kill("Copy files that were written since the first copy", 0.5, "undo"),
    Kill("Back up the database", 0.5, "finish"),
    Kill("Relocate the database to the new store", 0, "undo"),
    Kill("Relocate the database to the new store", 0.7, "undo"),
    Kill("Relocate the database to the new store", 0.7, "finish"),
    Kill("Record that files and database are at the new store", 0, "finish"),
    Kill("Read which further stores the database needs after the relocation", 0, "undo"),
    Kill("Write .env", 0.5, "undo"),
    Kill("Remove the maintenance page", 0.3, "finish"),
    Kill("Start a healthy MLflow server", 3, "undo"),
    Kill("Read back old runs", 0.5, "undo"),
    Kill("Record that the switch is complete", 0, "finish"),
]
# While it rolls back a cutover that was killed.
KILLS_IN_THE_ROLLBACK = [
    Kill("Restore the old locations from the journal", 0.5, "undo"),
    Kill("Restore the stack's files from before the switch", 0.3, "undo"),
    Kill("Record that the rollback is complete", 0, "undo"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    lab = Lab("mlflow-kills", tmp_path_factory.mktemp("kills") / "lab", 13241)
    with filled_stack(lab, files=50, mebibytes=8) as filled:
        yield filled


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_killed_on_the_way(stack: Stack, kill: Kill) -> None:
    here, _ = stack.stored()
    there = other_than(here)
    goal = {"artifact_storage": STORES[there]}
    stack.lab.play_until(kill.task, SWITCH, after=kill.seconds, **goal)
    passes(stack.lab.play(SWITCH, **(goal if kill.resume == "again" else {"resume": kill.resume})))
    require_all_at(stack, here if kill.resume == "undo" else there)


@pytest.mark.parametrize("kill", KILLS_IN_THE_ROLLBACK, ids=str)
def test_killed_on_the_way_back(stack: Stack, kill: Kill) -> None:
    here, _ = stack.stored()
    stack.lab.play_until("Read back old runs", SWITCH, artifact_storage=STORES[other_than(here)])
    stack.lab.play_until(kill.task, SWITCH, after=kill.seconds, resume="undo")
    passes(stack.lab.play(SWITCH, resume=kill.resume))
    require_all_at(stack, here)


def other_than(store: str) -> str:
    return next(each for each in STORES if each != store)


def require_all_at(stack: Stack, store: str) -> None:
    assert stack.stored() == (store, store)
    assert stack.answers()
    assert stack.read() == stack.content
    assert [found for found in stack.locations(other_than(store)) if found["kind"] == "location"] == []
