"""A secret in a stack's `.env`, replaced."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.secrets import digest, exchanged

_ENVIRONMENT = f"""MLFLOW_ARTIFACT_URI='sftp://old@host/old'
MLFLOW_BACKEND_STORE_URI='postgresql+psycopg://mlflow:old@postgres:5432/mlflow'
POSTGRES_PASSWORD_DIGEST='{digest("old")}'
JUPYTER_TOKEN='old'
"""


def test_only_the_token_changes() -> None:
    assert exchanged(_ENVIRONMENT, "notebook_token", "old", "new") == _ENVIRONMENT.replace(
        "JUPYTER_TOKEN='old'", "JUPYTER_TOKEN='new'"
    )


def test_only_the_password_changes() -> None:
    after = exchanged(_ENVIRONMENT, "database_password", "old", "new")
    assert "mlflow:new@postgres:5432" in after
    assert f"POSTGRES_PASSWORD_DIGEST='{digest('new')}'" in after
    assert after.count("old") == 3


@pytest.mark.parametrize("name", ["notebook_token", "database_password"])
def test_another_secret_than_the_file_has(name: str) -> None:
    with pytest.raises(CutoverError, match=r"site\.yml"):
        exchanged(_ENVIRONMENT, name, "other", "new")
