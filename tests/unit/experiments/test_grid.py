"""What a sweep tries, how scoring is cut, which trial wins, and which earlier runs a repeated trial ends."""

import math
from itertools import chain

import pytest

from experiments.image_scoring.grid import GRID, EarlierTries, Try, best, earlier_tries, shards
from experiments.image_scoring.model import HYPERPARAMETERS


def test_trials_are_numbered_and_differ() -> None:
    assert [trial.number for trial in GRID] == list(range(len(GRID)))
    assert len({(trial.hidden_units, trial.learning_rate) for trial in GRID}) == len(GRID) == 9
    assert all(trial.hyperparameters.keys() == HYPERPARAMETERS.keys() for trial in GRID)


def test_the_first_trial_is_what_a_run_without_a_sweep_trains() -> None:
    assert GRID[0].hyperparameters == HYPERPARAMETERS


@pytest.mark.parametrize(
    ("count", "parts", "lengths"),
    [(360, 4, [90] * 4), (10, 3, [3, 3, 4]), (2, 4, [1, 1]), (1, 1, [1]), (0, 3, [])],
)
def test_shards_are_all_items_once_in_order(count: int, parts: int, lengths: list[int]) -> None:
    found = shards(count, parts)

    assert [len(each) for each in found] == lengths
    assert list(chain.from_iterable(found)) == list(range(count))


@pytest.mark.parametrize(
    ("losses", "number"),
    [
        ({0: 0.5, 1: 0.2, 2: 0.9}, 1),
        ({2: 0.2, 1: 0.2}, 1),
        ({0: math.nan, 1: 7.0}, 1),
        ({0: math.nan, 1: math.inf}, 1),
        ({3: math.nan}, 3),
    ],
)
def test_the_best_trial(losses: dict[int, float], number: int) -> None:
    assert best(losses) == number


@pytest.mark.parametrize(
    ("statuses", "finished", "abandoned"),
    [
        ([], None, ()),
        (["RUNNING"], None, ("0",)),
        (["SCHEDULED", "RUNNING"], None, ("0", "1")),
        (["KILLED", "RUNNING"], None, ("1",)),
        (["KILLED", "FAILED"], None, ()),
        (["FINISHED"], "0", ()),
        (["KILLED", "FINISHED", "FINISHED"], "1", ()),
        # Its worker was lost when all was done, and somebody has begun again before that was seen.
        (["FINISHED", "RUNNING"], "0", ("1",)),
    ],
)
def test_what_a_repeated_trial_finds(
    statuses: list[str], finished: str | None, abandoned: tuple[str, ...]
) -> None:
    tries = [Try(str(number), status) for number, status in enumerate(statuses)]

    assert earlier_tries(tries) == EarlierTries(finished, abandoned)
