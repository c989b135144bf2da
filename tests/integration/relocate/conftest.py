"""Databases that MLflow itself filled, a fresh copy for each test, on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mlflow_content import Content, create_content
from tests.support.postgres import PostgresServer


@dataclass
class Filled:
    """A private copy of a database and of its artifacts' root; `content` names what is in it."""

    uri: str
    content: Content

    @property
    def root(self) -> str:
        return str(self.content.root)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Content]:
    directory = tmp_path_factory.mktemp("sqlite")
    database = directory / "template.db"
    (directory / "mlruns").mkdir()
    return database, create_content(f"sqlite:///{database}", directory / "mlruns")


@pytest.fixture(scope="session")
def postgres_template(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PostgresServer, Content]:
    root = tmp_path_factory.mktemp("postgres") / "mlruns"
    root.mkdir()
    return postgres, create_content(postgres.create("template_mlflow"), root)


@pytest.fixture
def sqlite_copy(sqlite_template: tuple[Path, Content], tmp_path: Path) -> Filled:
    template, content = sqlite_template
    database = tmp_path / "mlflow.db"
    shutil.copyfile(template, database)
    return Filled(f"sqlite:///{database}", content)


@pytest.fixture
def postgres_copy(postgres_template: tuple[PostgresServer, Content], tmp_path: Path) -> Filled:
    server, content = postgres_template
    return Filled(server.create(tmp_path.name, "template_mlflow"), content)


@pytest.fixture(params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest) -> Filled:
    fixture = {"sqlite": "sqlite_copy", "postgresql": "postgres_copy"}[request.param]
    copy: Filled = request.getfixturevalue(fixture)
    return copy


Dump = dict[str, list[tuple[object, ...]]]


@pytest.fixture
def dump() -> Callable[[str], Dump]:
    """A function that reads every row of every table, to compare databases by."""
    import sqlalchemy as sa

    def read(uri: str) -> Dump:
        engine = sa.create_engine(uri, poolclass=sa.NullPool)
        metadata = sa.MetaData()
        metadata.reflect(engine)
        with engine.connect() as connection:
            return {
                name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
                for name, table in metadata.tables.items()
            }

    return read
