"""What a sweep tries, and which trial is the best. Imports nothing heavy: the command line's help asks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

HIDDEN_UNITS = (64, 32, 128)
LEARNING_RATES = (0.003, 0.001, 0.01)
BATCH_SIZE = 64


@dataclass(frozen=True)
class Trial:
    """One setting of the classifier; `number` counts from 0."""

    number: int
    hidden_units: int
    learning_rate: float

    @property
    def name(self) -> str:
        return f"trial {self.number}"

    @property
    def hyperparameters(self) -> dict[str, float]:
        """As `model.Trainer` takes them."""
        return {
            "hidden_units": self.hidden_units,
            "learning_rate": self.learning_rate,
            "batch_size": BATCH_SIZE,
        }


# The first is what a run without a sweep trains.
GRID: Sequence[Trial] = tuple(
    Trial(number, units, rate) for number, (rate, units) in enumerate(product(LEARNING_RATES, HIDDEN_UNITS))
)


def best(losses: Mapping[int, float]) -> int:
    """The trial with the lowest loss, by number; of equal ones the first. A loss that is no number is the worst."""
    return min(losses, key=lambda number: (losses[number] != losses[number], losses[number], number))


def shards(count: int, parts: int) -> list[range]:
    """`count` items in at most `parts` ranges, in order, none empty, whose lengths differ by one at most."""
    parts = min(parts, count)
    bounds = [count * part // parts for part in range(parts + 1)] if parts else [0]
    return [range(start, stop) for start, stop in pairwise(bounds)]


@dataclass(frozen=True)
class Try:
    """A run of a trial; `status` is MLflow's."""

    run_id: str
    status: str


@dataclass(frozen=True)
class EarlierTries:
    """What a try finds of earlier ones: the run whose result holds, if any, and runs that nobody will end."""

    finished: str | None
    abandoned: tuple[str, ...]


def earlier_tries(tries: Iterable[Try]) -> EarlierTries:
    """Sort the runs of one trial, the oldest first, that are there when a try begins.

    A trial is begun again only after the worker of the try before was lost: what is not ended is abandoned. A worker
    may be lost after its run was complete and before its result was fetched; the first such run counts.
    """
    known = list(tries)
    finished = [each.run_id for each in known if each.status == "FINISHED"]
    abandoned = [each.run_id for each in known if each.status in ("RUNNING", "SCHEDULED")]
    return EarlierTries(finished[0] if finished else None, tuple(abandoned))
