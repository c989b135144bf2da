"""A database that MLflow filled, for moving its artifacts for real."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from mlflow_sftp.database.database import Database
from mlflow_sftp.operations import relocate
from tests.support.mlflow_content import Content, create_content


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Content]:
    """A database and what is in it; without a name that MLflow's local store cannot read."""
    directory = tmp_path_factory.mktemp("template")
    root = directory / "mlruns"
    root.mkdir()
    made = create_content(f"sqlite:///{directory}/mlflow.db", root)
    for path in root.rglob("per%20cent.txt"):
        path.unlink()
    return directory / "mlflow.db", made


@pytest.fixture
def content(template: tuple[Path, Content], tmp_path: Path) -> tuple[str, Content]:
    """The URI of a private copy of the database, with a private artifact root, and what is in it."""
    file, made = template
    root = tmp_path / "mlruns"
    shutil.copyfile(file, tmp_path / "mlflow.db")
    shutil.copytree(made.root, root)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with Database(uri) as database:
        request = relocate.Request((str(made.root),), str(root))
        relocate.apply(database, request, tmp_path / "private", backup=None)
    return uri, dataclasses.replace(made, root=root)
