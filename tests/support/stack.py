"""A stack of a lab, filled with everything that MLflow can hold, to be switched from store to store."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.request import urlopen

from tests.support.ansible import REPOSITORY, Outcome
from tests.support.lab import Lab

INSIDE = REPOSITORY / "tests/support/inside"
SWITCH = "playbooks/storage_switch.yml"


@dataclass
class Stack:
    """A stack with content; `content` is what every reader must find, whatever was switched."""

    lab: Lab
    ids: dict[str, str]
    content: dict[str, object] = field(default_factory=dict)

    def read(self) -> dict[str, object]:
        script = (INSIDE / "read_content.py").read_text()
        arguments = ("python", "-", json.dumps(self.ids))
        return json.loads(self._last_line("exec", "-T", "experiment-service", *arguments, text=script))

    def log(self, name: str = "since.txt") -> str:
        """Log a further run with one artifact and return its id."""
        code = (
            f"import mlflow; run = mlflow.start_run(); mlflow.log_text('since', '{name}');"
            "mlflow.end_run(); print(run.info.run_id)"
        )
        return self._last_line("exec", "-T", "experiment-service", "python", "-c", code)

    def read_text(self, run: str) -> str:
        code = f"import mlflow; print(mlflow.artifacts.load_text('runs:/{run}/since.txt'))"
        return self._last_line("exec", "-T", "notebook", "python", "-c", code)

    def stored(self) -> tuple[str, str]:
        """The store, and the root of new experiments, that the server uses."""
        answer = self.lab.compose(
            "exec", "-T", "mlflow", "printenv", "MLFLOW_ARTIFACT_URI", "MLFLOW_ARTIFACT_ROOT"
        )
        uri, root = answer.split()
        return uri, root

    def locations(self, root: str) -> list[dict[str, str]]:
        """What is still said to be at `root`: places that MLflow follows, and mere mentions."""
        code = (
            "import json, os; from mlflow_sftp.database.database import Database;"
            "from mlflow_sftp.operations.relocate import scan;"
            "d = Database(os.environ['MLFLOW_BACKEND_STORE_URI']);"
            f"print(json.dumps([f.as_dict() for f in scan(d, ['{root}'])]))"
        )
        return json.loads(self._last_line("exec", "-T", "mlflow", "python", "-c", code))

    def execute(self, statement: str) -> None:
        """Execute an SQL statement on MLflow's database."""
        code = (
            "import os, sqlalchemy as sa; e = sa.create_engine(os.environ['MLFLOW_BACKEND_STORE_URI']);"
            f"c = e.connect(); c.execute(sa.text({statement!r})); c.commit()"
        )
        self.lab.compose("exec", "-T", "mlflow", "python", "-c", code)

    def back_up(self) -> str:
        """Back the database up with the relocation's code; return its name, and the size of the backup."""
        code = (
            "import os, pathlib; from mlflow_sftp.database.database import Database;"
            "from mlflow_sftp.operations.database_backup import back_up;"
            "d = Database(os.environ['MLFLOW_BACKEND_STORE_URI']);"
            "print(d.name, back_up(d, pathlib.Path('/tmp/database.dump')))"
        )
        return self._last_line("exec", "-T", "mlflow", "python", "-c", code)

    def switches(self) -> set[str]:
        """The states in which the records of switches are."""
        records = self.lab.stack.glob("switches/*/switch.json")
        return {json.loads(path.read_text())["state"] for path in records}

    def bring_to(self, *stored: str, **goal: object) -> None:
        """Have the store and the root that a step begins with, whatever became of the steps before it.

        `goal` are the variables of the switch that leads there.
        """
        if self.switches() & {"cutting", "opening", "undoing"}:
            passes(self.lab.play(SWITCH, resume="undo"))
        if self.stored() != stored:
            passes(self.lab.play(SWITCH, **goal))
            assert self.stored() == stored

    def answers(self) -> bool:
        with urlopen(
            f"http://127.0.0.1:{self.lab.port + 1}/api/2.0/mlflow/experiments/search?max_results=1"
        ) as answer:
            return answer.status == 200

    def _last_line(self, *arguments: str, text: str | None = None) -> str:
        # MLflow prints links when a run ends.
        return self.lab.compose(*arguments, text=text).splitlines()[-1]


@contextmanager
def filled_stack(
    lab: Lab, files: int, mebibytes: int, prepare: Callable[[], None] = lambda: None
) -> Iterator[Stack]:
    """Deploy a stack with local storage, `prepare` called before, and fill it: small files, a large one, and more."""
    with lab.cleared():
        prepare()
        deployed = lab.play("site.yml", "--skip-tags", "verify", artifact_storage="local")
        assert not deployed.failed, deployed.output[-5000:]
        yield fill(lab, files, mebibytes)


def fill(lab: Lab, files: int, mebibytes: int) -> Stack:
    """Fill a deployed stack: small files, a large one, and more."""
    script = (INSIDE / "make_content.py").read_text()
    made = lab.compose(
        "exec", "-T", "experiment-service", "python", "-", str(files), str(mebibytes), text=script
    )
    stack = Stack(lab, json.loads(made.splitlines()[-1]))
    stack.content = stack.read()
    assert stack.content["served otherwise"] == []
    return stack


def passes(outcome: Outcome) -> str:
    assert not outcome.failed, outcome.output[-8000:]
    return " ".join(outcome.output.split())


def fails(outcome: Outcome) -> str:
    assert outcome.failed, outcome.output[-8000:]
    return " ".join(outcome.output.split())
