"""The database is checked before anything is changed. All cases in one run, which prints as much as it can."""

import json
from dataclasses import asdict, dataclass, field

import pytest

from tests.support.ansible import REPOSITORY, run_playbook

PASSWORD = "s3cret-word"
SQLITE = "sqlite:////var/lib/mlflow/mlflow.db"
SERVICE = f"postgresql+psycopg://mlflow:{PASSWORD}@postgres:5432/mlflow"
PLAYBOOK = REPOSITORY / "tests/playbooks/backend_store.yml"


@dataclass(frozen=True)
class Case:
    """What the inventory says, what is deployed, and the words of the refusal: none where it passes."""

    store: str
    words: tuple[str, ...] = ()
    deployed: str = ""
    switch: bool = False
    image: str = ""
    limits: dict[str, str] = field(default_factory=lambda: {"postgres": "1g"})


CASES = [
    Case("sqlite"),
    Case("postgresql"),
    Case("postgresql", image="postgres:17"),
    Case(SQLITE),
    Case(f"postgresql://mlflow:{PASSWORD}@db.example:5432/mlflow"),
    Case(f"postgresql+psycopg://mlflow:{PASSWORD}%40@db/mlflow?sslmode=require"),
    # Of another kind, or of none
    Case(f"mysql://mlflow:{PASSWORD}@db/mlflow", ("begins with 'mysql'", "expected sqlite, postgresql")),
    Case(f"postgresql+psycopg2://mlflow:{PASSWORD}@db/mlflow", ("begins with 'postgresql+psycopg2'",)),
    Case(f"mlflow:{PASSWORD}@db/mlflow", ("begins with 'mlflow'",)),
    Case("", ("begins with ''",)),
    # Without a place
    Case(f"postgresql://mlflow:{PASSWORD}@db", ("postgresql URI", "names no database")),
    Case(f"postgresql://mlflow:{PASSWORD}@db/", ("names no database",)),
    Case(f"postgresql://mlflow:{PASSWORD}@x@db/mlflow", ("%40",)),
    Case(f"postgresql://mlflow:{PASSWORD}'@db/mlflow", ("%40",)),
    Case("sqlite:///mlflow.db", ("not in /var/lib/mlflow",)),
    Case("sqlite:////tmp/mlflow.db", ("not in /var/lib/mlflow",)),
    # Contradictory
    Case("sqlite", ("postgres:17", "asks for sqlite"), image="postgres:17"),
    Case("postgresql://db/mlflow", ("asks for postgresql outside the stack",), image="postgres:17"),
    Case("postgresql", ("mlflow_stack_memory_limits has no entry for postgres",), limits={"mlflow": "2g"}),
    # Another one than the deployed one
    Case("postgresql", (SQLITE, "postgresql://postgres:5432/mlflow", "switch=true"), deployed=SQLITE),
    Case("sqlite", ("postgresql://postgres:5432/mlflow", SQLITE), deployed=SERVICE),
    Case(
        f"postgresql://u:{PASSWORD}@db/mlflow", ("//postgres:5432/mlflow;", "//db/mlflow,"), deployed=SERVICE
    ),
    Case("postgresql://db/b", ("//db/a;", "//db/b,"), deployed=f"postgresql://u@db/a?password={PASSWORD}@"),
    Case("postgresql://db/b", ("a place that cannot be read",), deployed=f"postgresql://u:{PASSWORD}@x@db/b"),
    Case("postgresql", deployed=SQLITE, switch=True),
    # The deployed one
    Case("sqlite", deployed=SQLITE),
    Case("postgresql", deployed=SERVICE),
    Case("postgresql+psycopg://v:new@db/b?sslmode=require", deployed=f"postgresql://u:{PASSWORD}@db/b"),
]


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each case is refused with."""
    directory = tmp_path_factory.mktemp("cases")
    cases = [asdict(case) | {"dir": str(directory / str(number))} for number, case in enumerate(CASES)]
    for number, case in enumerate(CASES):
        stack = directory / str(number)
        stack.mkdir()
        lines = [f"MLFLOW_BACKEND_STORE_URI='{case.deployed}'", "JUPYTER_TOKEN=''"] if case.deployed else []
        (stack / ".env").write_text("\n".join(lines))
    variables = directory / "cases.json"
    variables.write_text(json.dumps({"cases": cases, "answers": str(directory / "answers.json")}))
    outcome = run_playbook(PLAYBOOK, "-vvv", "--diff", f"--extra-vars=@{variables}")
    assert not outcome.failed, outcome.output
    assert PASSWORD not in outcome.output
    answers: list[str] = json.loads((directory / "answers.json").read_text())
    return answers


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=lambda number: CASES[number].store.replace(PASSWORD, "")
)
def test_backend_store(messages: list[str], number: int) -> None:
    assert bool(messages[number]) == bool(CASES[number].words), messages[number]
    for word in CASES[number].words:
        assert word in messages[number]
