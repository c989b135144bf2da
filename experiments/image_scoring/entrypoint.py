"""Runs the experiment: `python -m experiments.image_scoring.entrypoint --help`."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING

from experiments.image_scoring import cli

if TYPE_CHECKING:
    from experiments.image_scoring.experiment import Result


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code that `--help` lists."""
    settings = cli.parse(argv)
    signal.signal(signal.SIGTERM, _stop)
    # We print the links ourselves; on standard output MLflow's would spoil --json.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # MLflow and scikit-learn take seconds to import: after the arguments are known to be right.
    from experiments.image_scoring import experiment, sweep
    from experiments.image_scoring.engines import LostWorkersError, NoEngineError
    from experiments.image_scoring.tracking import EndedElsewhereError, TrackingError

    try:
        result = sweep.execute(settings) if settings.trials else experiment.execute(settings)
    except NoEngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (TrackingError, EndedElsewhereError, LostWorkersError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result), indent=2) if settings.json else _text(result))
    return 0


def _text(result: "Result") -> str:
    version = f" (version {result.model_version})" if result.model_version else ""
    rows = {
        "run": f"{result.run_name} ({result.run_id})",
        **{name.replace("_", " "): f"{value:.4f}" for name, value in result.metrics.items()},
        "artifacts": result.artifact_uri,
        "model": result.model_uri + version,
        **{f"{name} page": url for name, url in result.links.items()},
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _stop(number: int, frame: FrameType | None) -> None:
    """A stopped container ends its run as KILLED instead of leaving it RUNNING for ever."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
