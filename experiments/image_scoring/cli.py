"""Command line of the experiment. Imports nothing heavy, so that `--help` answers at once."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.image_scoring.grid import GRID

DESCRIPTION = """\
Train a classifier on scikit-learn's 8x8 images of handwritten digits, score each test image, and track
parameters, metrics, plots, scores and the model in MLflow.

With --trials or --engine dask: try several settings of the classifier, a run each below one run for all, and let
the best one score the test images in shards. Trials and shards run beside each other, and write their artifacts
themselves."""

EPILOG = """\
environment:
  MLFLOW_TRACKING_URI  tracking server when --tracking-uri is not given
  MLFLOW_UI_URL        address of MLflow's web page as a browser sees it, for the printed links
  DASK_SCHEDULER_ADDRESS  scheduler when --scheduler is not given; dask's configuration says which certificates

exit codes:
  0  the run is complete and its artifacts are stored
  1  MLflow, its artifact store or its model registry could not be used, or workers were lost again and again; the
     message says which
  2  wrong arguments, or no scheduler with workers; nothing was recorded"""

ENGINES = ("local", "dask")


@dataclass(frozen=True)
class Settings:
    """What one run is told from outside. `trials` is 0 where there is no sweep."""

    experiment: str
    run_name: str | None
    tracking_uri: str | None
    ui_url: str | None
    epochs: int
    seed: int
    register: str | None
    json: bool
    engine: str
    scheduler: str | None
    trials: int
    shards: int


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the arguments (default: those of the process); a wrong one ends the process with code 2."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.engine == "dask" and not given.scheduler:
        parser.error(
            "--engine dask needs a scheduler: name it with --scheduler or DASK_SCHEDULER_ADDRESS, as "
            "tls://dask-scheduler:8786. A stack has one with mlflow_stack_dask: true"
        )
    if given.trials is None:
        given.trials = len(GRID) if given.engine == "dask" else 0
    return Settings(**vars(given))


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
    parser.add_argument(
        "--trials",
        type=_trials,
        metavar="N",
        help=f"a sweep of the first N of {len(GRID)} settings (default: all with --engine dask, else no sweep)",
    )
    parser.add_argument(
        "--shards",
        type=_positive,
        default=4,
        metavar="N",
        help="parts of a sweep's scoring (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="where a sweep's trials run: processes of this host, or workers of dask (default: %(default)s)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        default=os.environ.get("DASK_SCHEDULER_ADDRESS") or None,
        help="default: $DASK_SCHEDULER_ADDRESS",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _trials(text: str) -> int:
    value = int(text)
    if not 1 <= value <= len(GRID):
        raise argparse.ArgumentTypeError(f"{text} is not in 1..{len(GRID)}")
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
