"""Databases at the schema of MLflow 3.13, a fresh copy for each test, on SQLite and on PostgreSQL."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlflow_sftp.cli.main import main
from mlflow_sftp.operations.database_schema import installed_history
from tests.support.older_database import REVISIONS, content, create_older, revision_of
from tests.support.postgres import PostgresServer

RUNS = 200
OLD = REVISIONS["3.13"]
(NEW,) = installed_history().heads


@dataclass
class Older:
    """A database at `OLD`; `file` is that of an SQLite one."""

    uri: str
    content: dict[str, list[tuple[object, ...]]]
    file: Path | None = None

    def holds(self, revision: str) -> bool:
        """Whether it is at `revision`, with every row."""
        return revision_of(self.uri) == revision and content(self.uri) == self.content


@dataclass
class Answer:
    code: int
    result: dict[str, Any]
    errors: str


Program = Callable[..., Answer]


@pytest.fixture
def program() -> Program:
    """Run `mlflow-sftp ARGUMENT... --json` on a database, and return what it says."""

    def run(uri: str, *arguments: str) -> Answer:
        done = CliRunner().invoke(main, [*arguments, "--json"], env={"MLFLOW_BACKEND_STORE_URI": uri})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Answer(done.exit_code, json.loads(done.stdout), done.stderr)

    return run


@pytest.fixture(scope="session")
def sqlite_older_template(tmp_path_factory: pytest.TempPathFactory) -> Older:
    file = tmp_path_factory.mktemp("older") / "template.db"
    uri = f"sqlite:///{file}"
    create_older(uri, OLD, RUNS)
    return Older(uri, content(uri), file)


@pytest.fixture
def sqlite_older(sqlite_older_template: Older, tmp_path: Path) -> Older:
    assert sqlite_older_template.file is not None
    (tmp_path / "database").mkdir()
    file = tmp_path / "database" / "mlflow.db"
    shutil.copyfile(sqlite_older_template.file, file)
    return Older(f"sqlite:///{file}", sqlite_older_template.content, file)


@pytest.fixture(scope="session")
def postgres_older_template(postgres: PostgresServer) -> Older:
    uri = postgres.create("template_older")
    create_older(uri, OLD, RUNS)
    return Older(uri, content(uri))


@pytest.fixture
def postgres_older(
    postgres: PostgresServer, postgres_older_template: Older, tmp_path: Path
) -> Iterator[Older]:
    name = tmp_path.name
    yield Older(postgres.create(name, "template_older"), postgres_older_template.content)
    postgres.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest) -> Older:
    fixture = {"sqlite": "sqlite_older", "postgresql": "postgres_older"}[request.param]
    made: Older = request.getfixturevalue(fixture)
    return made
