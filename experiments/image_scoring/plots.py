"""Pictures of the result. Figures are made without pyplot: no global state, no display needed."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from experiments.image_scoring.data import CLASSES, IMAGE_SHAPE
from experiments.image_scoring.model import Scores

COLUMNS = 8


def confusion(scores: Scores) -> Figure:
    """Counts of true digit (row) against predicted digit (column)."""
    counts = confusion_matrix(scores.images.labels, scores.predictions, labels=CLASSES)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot(
        title="Confusion matrix", xlabel="predicted", ylabel="true", xticks=CLASSES, yticks=CLASSES
    )
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    return figure


def best_and_worst(scores: Scores) -> Figure:
    """The images with the best scores (top row) and the worst (bottom row), each with score and labels."""
    ranking = scores.ranking
    figure = Figure(figsize=(1.4 * COLUMNS, 4), layout="constrained")
    rows = figure.subplots(2, COLUMNS)
    for row, name, positions in zip(rows, ("best", "worst"), (ranking[::-1], ranking), strict=True):
        row[0].set_ylabel(name)
        for axes, position in zip(row, positions[:COLUMNS], strict=True):
            _draw(axes, scores, int(position))
    return figure


def _draw(axes: Axes, scores: Scores, position: int) -> None:
    label, prediction = scores.images.labels[position], scores.predictions[position]
    axes.imshow(scores.images.pixels[position].reshape(IMAGE_SHAPE), cmap="gray_r")
    axes.set_title(
        f"is {label}, said {prediction}\nscore {scores.of_label[position]:.4f}",
        fontsize=8,
        color="black" if label == prediction else "firebrick",
    )
    axes.set(xticks=[], yticks=[])
