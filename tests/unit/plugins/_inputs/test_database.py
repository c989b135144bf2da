"""The database is checked before anything is changed, and no message shows what may be secret."""

from dataclasses import dataclass, field

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import (
    database_place,
    database_problems,
)

PASSWORD = "s3cret-word"
SQLITE = "sqlite:////var/lib/mlflow/mlflow.db"
SERVICE = f"postgresql+psycopg://mlflow:{PASSWORD}@postgres:5432/mlflow"


@dataclass(frozen=True)
class Case:
    """What the inventory says, and the words of the refusal: none where it passes."""

    store: str
    words: tuple[str, ...] = ()
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
]
PLACES = {
    "": "",
    "sqlite": SQLITE,
    "postgresql": "postgresql://postgres:5432/mlflow",
    SQLITE: SQLITE,
    SERVICE: "postgresql://postgres:5432/mlflow",
    f"postgresql+psycopg://v:{PASSWORD}@db/b?sslmode=require": "postgresql://db/b",
    "postgresql://db/b": "postgresql://db/b",
    f"postgresql://u@db/a?password={PASSWORD}@": "postgresql://db/a",
    # Releases before the checks let these pass.
    f"postgresql://u:{PASSWORD}@x@db/b": "a place that cannot be read",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.store.replace(PASSWORD, ""))
def test_what_is_wrong_with_the_database(case: Case) -> None:
    found = list(database_problems(case.store, case.image, case.limits))
    assert len(found) == bool(case.words), found
    for word in case.words:
        assert word in found[0]
    assert PASSWORD not in "".join(found)


@pytest.mark.parametrize("store", PLACES, ids=lambda store: store.replace(PASSWORD, "") or "none")
def test_the_place_tells_databases_apart_and_no_secret(store: str) -> None:
    assert database_place(store) == PLACES[store]
