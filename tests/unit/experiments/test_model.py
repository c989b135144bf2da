"""Training and scores."""

import numpy as np
import pytest

from experiments.image_scoring import data
from experiments.image_scoring.data import Digits, Images
from experiments.image_scoring.model import Scores, Trainer


@pytest.fixture(scope="module")
def digits() -> Digits:
    return data.load(seed=0)


@pytest.fixture
def scores() -> Scores:
    """Three images of a 0, a 1 and a 2; the last is taken for a 0."""
    probabilities = np.zeros((3, 10))
    probabilities[0, [0, 1]] = 0.6, 0.4
    probabilities[1, [1, 2]] = 0.9, 0.1
    probabilities[2, [0, 2]] = 0.75, 0.25
    images = Images(np.zeros((3, 64)), np.array([0, 1, 2]), np.array([70, 71, 72]))
    return Scores(images, probabilities)


def test_training_learns(digits: Digits) -> None:
    trainer = Trainer(digits, seed=0)

    metrics = list(trainer.epochs(10))

    assert len(metrics) == 10
    assert set(metrics[0]) == {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy"}
    assert metrics[-1]["validation_loss"] < metrics[0]["validation_loss"] / 4
    assert trainer.score(digits.test).metrics("test")["test_accuracy"] > 0.9


def test_the_seed_decides_the_metrics(digits: Digits) -> None:
    first, again, other = (list(Trainer(digits, seed).epochs(2)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_model_takes_raw_pixels(digits: Digits) -> None:
    trainer = Trainer(digits, seed=0)
    list(trainer.epochs(1))

    probabilities = trainer.model.predict_proba(digits.test.pixels)

    assert np.array_equal(probabilities, trainer.score(digits.test).probabilities)


def test_scores_rank_by_the_probability_of_the_true_digit(scores: Scores) -> None:
    assert scores.of_label.tolist() == [0.6, 0.9, 0.25]
    assert scores.ranking.tolist() == [2, 0, 1]
    assert scores.predictions.tolist() == [0, 1, 0]


def test_metrics(scores: Scores) -> None:
    metrics = scores.metrics("test")

    assert metrics["test_accuracy"] == pytest.approx(2 / 3)
    assert metrics["test_loss"] == pytest.approx(-np.log([0.6, 0.9, 0.25]).mean())


def test_table_has_one_row_an_image(scores: Scores) -> None:
    assert scores.table() == {
        "image": [70, 71, 72],
        "label": [0, 1, 2],
        "prediction": [0, 1, 0],
        "correct": [True, True, False],
        "score": [0.6, 0.9, 0.25],
        "confidence": [0.6, 0.9, 0.75],
    }
