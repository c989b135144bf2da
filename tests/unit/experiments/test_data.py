"""The split of the images."""

import numpy as np

from experiments.image_scoring import data


def test_parts_are_disjoint_and_complete() -> None:
    digits = data.load(seed=0)

    index = np.concatenate([digits.train.index, digits.validation.index, digits.test.index])
    assert sorted(index) == list(range(1797))
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1078, 359, 360)


def test_every_digit_has_its_share_in_every_part() -> None:
    digits = data.load(seed=0)

    for part in (digits.train, digits.validation, digits.test):
        shares = np.bincount(part.labels, minlength=10) / len(part)
        assert np.all(np.abs(shares - 0.1) < 0.01)


def test_the_seed_decides_the_split() -> None:
    assert np.array_equal(data.load(3).test.index, data.load(3).test.index)
    assert not np.array_equal(data.load(3).test.index, data.load(4).test.index)
