#!/usr/bin/env python3
"""How long a move of the database closes MLflow, against the copy of the rows itself and a mere restart.

    tests/bench/move.py                            10,000 runs from SQLite to the stack's PostgreSQL, and undone
    tests/bench/move.py --runs 100

Deploys a lab of its own, fills it with runs of one small artifact each, and moves its database and back with
playbooks/database_move.yml. MLflow is asked ten times a second from outside. Prints the seconds of each playbook, the
seconds from the last good answer to the next, those of each step, and those of a stop and start of the server. Needs
Docker, as bin/test leaves it, and an index of Python packages.
"""

import argparse
import sys
import tempfile
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.bench.watch import fill, measure, restart  # noqa: E402  # found only after the line above
from tests.support.lab import Lab  # noqa: E402  # likewise
from tests.support.stack import passes  # noqa: E402  # likewise

_PLAYBOOK = "playbooks/database_move.yml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as work:
        lab = Lab("mlflow-moves", Path(work) / "lab", 58311, {"artifact_storage": "local"})
        with lab.cleared():
            passes(lab.play("site.yml", "--skip-tags", "verify"))
            fill(lab, runs)
            print(f"{runs} runs; restart {restart(lab):.1f} s", flush=True)
            measure(lab, "move", _PLAYBOOK, mlflow_stack_backend_store="postgresql")
            measure(lab, "undo", _PLAYBOOK, undo=True)


if __name__ == "__main__":
    main()
