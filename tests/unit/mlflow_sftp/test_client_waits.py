"""How long MLflow's client waits for those who check."""

from mlflow_sftp.operations.client_waits import shorten_waits


def test_what_is_set_already_stays() -> None:
    environment = {"MLFLOW_SFTP_RETRY_TIMEOUT": "600"}
    shorten_waits(sftp=5, environment=environment)
    assert environment == {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_SFTP_RETRY_TIMEOUT": "600",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }


def test_the_limit_of_a_request_is_mlflows_own_unless_given() -> None:
    environment: dict[str, str] = {}
    shorten_waits(sftp=5, http=20, environment=environment)
    assert environment["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "20"
    assert environment["MLFLOW_SFTP_RETRY_TIMEOUT"] == "5"
