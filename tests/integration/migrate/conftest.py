"""A database that MLflow filled, for moving its artifacts for real."""

from pathlib import Path

import pytest

from tests.support.mlflow_content import Content, create_content


@pytest.fixture
def content(tmp_path: Path) -> tuple[str, Content]:
    """The URI of a new database, and what is in it; without a name that MLflow's local store cannot read."""
    root = tmp_path / "mlruns"
    root.mkdir()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    made = create_content(uri, root)
    for path in root.rglob("per%20cent.txt"):
        path.unlink()
    return uri, made
