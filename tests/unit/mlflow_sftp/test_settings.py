from dataclasses import fields
from pathlib import Path

import pytest

from mlflow_sftp.errors import InvalidSettingError
from mlflow_sftp.settings import Settings

_DOCUMENTATION = Path(__file__).parents[3] / "docs" / "data-plane.md"


def test_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_values_are_read(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.touch()
    settings = Settings.from_environment(
        {
            "MLFLOW_SFTP_SSH_CONFIG": str(config),
            "MLFLOW_SFTP_STALL_TIMEOUT": "2.5",
            "MLFLOW_SFTP_MAX_REQUESTS": "7",
            "MLFLOW_SFTP_VERIFY": "sha256",
            "MLFLOW_SFTP_KEY_PASSPHRASE": "secret",
        }
    )
    assert settings == Settings(
        ssh_config=config, stall_timeout=2.5, max_requests=7, verify="sha256", key_passphrase="secret"
    )
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_SFTP_SSH_CONFIG", "/nowhere/at/all"),
        ("MLFLOW_SFTP_VERIFY", "md5"),
        ("MLFLOW_SFTP_MEMORY", "0"),
        ("MLFLOW_SFTP_MEMORY", "1.5"),
        ("MLFLOW_SFTP_STALL_TIMEOUT", "soon"),
        ("MLFLOW_SFTP_STALL_TIMEOUT", "nan"),
        ("MLFLOW_SFTP_STALL_TIMEOUT", "inf"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidSettingError, match=name):
        Settings.from_environment({name: value})


def test_every_setting_is_documented() -> None:
    text = _DOCUMENTATION.read_text()
    for field in fields(Settings):
        assert f"`MLFLOW_SFTP_{field.name.upper()}`" in text
