#!/usr/bin/env python3
"""How long an upgrade closes MLflow, against the migration of the database itself and a mere restart.

    tests/bench/upgrade.py                                     3.13 with 10,000 runs on SQLite
    tests/bench/upgrade.py --runs 100 --backend postgresql

Deploys a lab of its own on older images that are made for it, fills it with runs of one small artifact each, and
upgrades it and back with playbooks/upgrade.yml. MLflow is asked ten times a second from outside. Prints the seconds
of each playbook, the seconds from the last good answer to the next, those that the migration took, and those of a
stop and start of the server. Needs Docker, as bin/test leaves it, and an index of Python packages.
"""

import argparse
import sys
import tempfile
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPOSITORY))

from tests.bench.watch import fill, measure, restart  # noqa: E402  # found only after the line above
from tests.support.lab import Lab  # noqa: E402  # likewise
from tests.support.older_stack import go_back_to, older_images  # noqa: E402  # likewise
from tests.support.stack import passes  # noqa: E402  # likewise

_PLAYBOOK = "playbooks/upgrade.yml"


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as work:
        settings = {
            "mlflow_stack_backend_store": arguments.backend,
            "mlflow_stack_workers": 2,
            "artifact_storage": "local",
        }
        lab = Lab("mlflow-upgrades", Path(work) / "lab", 13341, settings)
        with lab.cleared():
            passes(lab.play("site.yml", "--skip-tags", "verify"))
            volume = {"sqlite": "database", "postgresql": "postgres"}[arguments.backend]
            go_back_to(lab, older_images(lab, arguments.older), volume)
            fill(lab, arguments.runs)
            print(
                f"{arguments.older}, {arguments.backend}, {arguments.runs} runs; restart {restart(lab):.1f} s",
                flush=True,
            )
            measure(lab, "upgrade", _PLAYBOOK)
            measure(lab, "undo", _PLAYBOOK, undo=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--older", choices=["3.10.1", "3.13.0"], default="3.13.0")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--backend", choices=["sqlite", "postgresql"], default="sqlite")
    return parser.parse_args()


if __name__ == "__main__":
    main()
