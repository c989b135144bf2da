"""Command line of the experiment. Imports nothing heavy, so that `--help` answers at once."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

DESCRIPTION = """\
Train a classifier on scikit-learn's 8x8 images of handwritten digits, score each test image, and track
parameters, metrics, plots, scores and the model in MLflow."""

EPILOG = """\
environment:
  MLFLOW_TRACKING_URI  tracking server when --tracking-uri is not given
  MLFLOW_UI_URL        address of MLflow's web page as a browser sees it, for the printed links

exit codes:
  0  the run is complete and its artifacts are stored
  1  MLflow, its artifact store or its model registry could not be used; the message says which
  2  wrong arguments"""


@dataclass(frozen=True)
class Settings:
    """What one run is told from outside."""

    experiment: str
    run_name: str | None
    tracking_uri: str | None
    ui_url: str | None
    epochs: int
    seed: int
    register: str | None
    json: bool


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the arguments (default: those of the process); a wrong one ends the process with code 2."""
    return Settings(**vars(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.image_scoring.entrypoint",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--experiment", default="image_scoring", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--run-name", metavar="NAME", help="default: MLflow makes one up")
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="default: $MLFLOW_TRACKING_URI, else MLflow's own"
    )
    parser.add_argument(
        "--ui-url",
        metavar="URL",
        default=os.environ.get("MLFLOW_UI_URL") or None,
        help="default: $MLFLOW_UI_URL, else the tracking URI if it is http(s)",
    )
    parser.add_argument("--epochs", type=_positive, default=20, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="same seed, same metrics (default: %(default)s)"
    )
    parser.add_argument(
        "--register", type=_model_name, metavar="NAME", help="register the model under this name"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..{2**32 - 1}")
    return value


def _model_name(text: str) -> str:
    if not text or "/" in text or ":" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is empty or holds '/' or ':', which MLflow does not allow"
        )
    return text
