"""The classifier: a small neural network, trained epoch by epoch, and the scores it gives."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from experiments.image_scoring.data import CLASSES, Digits, Images

HYPERPARAMETERS: dict[str, float] = {"hidden_units": 64, "learning_rate": 0.003, "batch_size": 64}


@dataclass(frozen=True)
class Scores:
    """What a model says about `images`: `probabilities` (n, 10), one column a digit, rows add up to 1."""

    images: Images
    probabilities: NDArray[np.float64]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable digit of each image (n,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def of_label(self) -> NDArray[np.float64]:
        """An image's score: the probability given to its true digit (n,); 1 is best."""
        return self.probabilities[np.arange(len(self.images)), self.images.labels]

    @property
    def ranking(self) -> NDArray[np.int64]:
        """Positions of the images from the worst score to the best (n,)."""
        return self.of_label.argsort(kind="stable")

    def metrics(self, prefix: str) -> dict[str, float]:
        """Cross-entropy and share of right predictions, named `<prefix>_loss` and `<prefix>_accuracy`."""
        labels = self.images.labels
        return {
            f"{prefix}_loss": float(log_loss(labels, self.probabilities, labels=CLASSES)),
            f"{prefix}_accuracy": float((self.predictions == labels).mean()),
        }

    def table(self) -> dict[str, list[int] | list[float] | list[bool]]:
        """One row an image, as columns."""
        return {
            "image": self.images.index.tolist(),
            "label": self.images.labels.tolist(),
            "prediction": self.predictions.tolist(),
            "correct": (self.predictions == self.images.labels).tolist(),
            "score": self.of_label.tolist(),
            "confidence": self.probabilities.max(axis=1).tolist(),
        }


class Trainer:
    """Trains on `digits.train`; `model` takes raw pixels (n, 64) at any time after the first epoch.

    `hyperparameters` has the keys of HYPERPARAMETERS.
    """

    def __init__(
        self, digits: Digits, seed: int, hyperparameters: Mapping[str, float] = HYPERPARAMETERS
    ) -> None:
        self._digits = digits
        self._random = np.random.default_rng(seed)
        self._scaler = MinMaxScaler().fit(digits.train.pixels)
        # The order of the images is ours: with an integer seed, partial_fit would repeat one order for ever.
        self._network = MLPClassifier(
            hidden_layer_sizes=(int(hyperparameters["hidden_units"]),),
            learning_rate_init=hyperparameters["learning_rate"],
            batch_size=int(hyperparameters["batch_size"]),
            random_state=seed,
            shuffle=False,
        )
        self.model = Pipeline([("scale", self._scaler), ("network", self._network)])

    def epochs(self, count: int) -> Iterator[dict[str, float]]:
        """Train `count` times over the images; yields the metrics of training and validation after each."""
        train = self._digits.train
        pixels = self._scaler.transform(train.pixels)
        for _ in range(count):
            order = self._random.permutation(len(train))
            self._network.partial_fit(pixels[order], train.labels[order], classes=CLASSES)
            yield self.score(train).metrics("train") | self.score(self._digits.validation).metrics(
                "validation"
            )

    def score(self, images: Images) -> Scores:
        return Scores(images, self.model.predict_proba(images.pixels))
