"""The images: scikit-learn's digits, shipped inside the package, so nothing is downloaded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

IMAGE_SHAPE = (8, 8)
CLASSES = np.arange(10)


@dataclass(frozen=True)
class Images:
    """`n` images: `pixels` (n, 64) in 0..16, `labels` (n,) in 0..9, `index` (n,) in the whole data set."""

    pixels: NDArray[np.float64]
    labels: NDArray[np.int64]
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Digits:
    """Disjoint parts of the data set: 60 % to learn from, 20 % to watch, 20 % to score."""

    train: Images
    validation: Images
    test: Images


def load(seed: int) -> Digits:
    """All 1797 images, split by `seed` with the same share of every digit in each part."""
    pixels, labels = load_digits(return_X_y=True)
    train, rest = _split(np.arange(len(labels)), labels, 0.4, seed)
    validation, test = _split(rest, labels, 0.5, seed)
    parts = (Images(pixels[index], labels[index], index) for index in (train, validation, test))
    return Digits(*parts)


def _split(
    index: NDArray[np.int64], labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first, second = train_test_split(index, test_size=share, random_state=seed, stratify=labels[index])
    return first, second
