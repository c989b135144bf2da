"""What the pictures show, and that they become PNG files without a display."""

import io

import pytest
from PIL import Image

from experiments.image_scoring import data, plots
from experiments.image_scoring.model import Scores, Trainer


@pytest.fixture(scope="module")
def scores() -> Scores:
    digits = data.load(seed=0)
    trainer = Trainer(digits, seed=0)
    list(trainer.epochs(2))
    return trainer.score(digits.test)


def test_confusion_counts_every_image(scores: Scores) -> None:
    (axes,) = plots.confusion(scores).axes

    counts = [int(text.get_text()) for text in axes.texts]
    right = int((scores.predictions == scores.images.labels).sum())
    assert sum(counts) == len(scores.images)
    assert sum(counts[::11]) == right


def test_best_and_worst_show_the_ends_of_the_ranking(scores: Scores) -> None:
    titles = [axes.get_title() for axes in plots.best_and_worst(scores).axes]

    worst, best = scores.ranking[0], scores.ranking[-1]
    assert len(titles) == 2 * plots.COLUMNS
    assert titles[0] == _title(scores, best)
    assert titles[plots.COLUMNS] == _title(scores, worst)
    assert scores.of_label[best] > scores.of_label[worst]


@pytest.mark.parametrize("plot", [plots.confusion, plots.best_and_worst])
def test_pictures_are_png(plot: type, scores: Scores) -> None:
    file = io.BytesIO()
    plot(scores).savefig(file, format="png")

    picture = Image.open(file)
    assert picture.format == "PNG"
    assert min(picture.size) >= 300


def _title(scores: Scores, position: int) -> str:
    label, prediction = scores.images.labels[position], scores.predictions[position]
    return f"is {label}, said {prediction}\nscore {scores.of_label[position]:.4f}"
