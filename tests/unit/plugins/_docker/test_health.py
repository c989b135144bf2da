"""Why a service is not well: one cause from what the engine, the health check and the log say."""

from dataclasses import replace

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.health import (
    Service,
    describe,
    diagnose,
    service_of,
)

SICK = Service("mlflow", "mlflow-mlflow-1", health="unhealthy")
PROXY = {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "example.org"}
REFUSED = "urllib.error.URLError: <urlopen error [Errno 111] Connection refused>"


@pytest.mark.parametrize(
    ("service", "code"),
    [
        (Service("mlflow", "c"), None),
        (replace(SICK, health="healthy", log="No space left on device"), None),
        (replace(SICK, health="starting"), "service_unhealthy"),
        (SICK, "service_unhealthy"),
        (Service("mlflow", "c", status="created"), "service_unhealthy"),
        (Service("mlflow", "c", status="exited", exit_code=3), "service_unhealthy"),
        (Service("mlflow", "c", status="exited", exit_code=137, out_of_memory=True), "service_out_of_memory"),
        (replace(SICK, log="OSError: [Errno 28] No space left on device"), "service_disk_full"),
        (replace(SICK, log="sqlite3.OperationalError: database or disk is full"), "service_disk_full"),
        (
            replace(
                SICK, log="mlflow.exceptions.MlflowException: Detected out-of-date database schema (found"
            ),
            "service_database_outdated",
        ),
        (
            replace(SICK, log="sqlite3.OperationalError: unable to open database file"),
            "service_volume_denied",
        ),
        (
            replace(
                SICK, log='connection failed: connection to server at "10.1.1.1", port 5432 failed: timeout'
            ),
            "service_database_unreachable",
        ),
        (
            replace(SICK, log='FATAL:  password authentication failed for user "mlflow"'),
            "service_database_unreachable",
        ),
        (
            Service(
                "mlflow", "c", "created", error="Bind for 127.0.0.1:5000 failed: port is already allocated"
            ),
            "service_port_taken",
        ),
        (replace(SICK, probe=REFUSED, environment=PROXY), "service_behind_proxy"),
        (replace(SICK, probe=REFUSED, environment=PROXY | {"no_proxy": "localhost"}), "service_unhealthy"),
        (replace(SICK, probe=REFUSED, environment={"HTTP_PROXY": "", "http_proxy": ""}), "service_unhealthy"),
    ],
)
def test_cause(service: Service, code: str | None) -> None:
    error = diagnose(service)
    assert (error.cause.code if error else None) == code


def test_what_is_said_is_complete_and_keeps_secrets() -> None:
    notebook = Service(
        "notebook",
        "mlflow-notebook-1",
        status="restarting",
        exit_code=1,
        log="first\nsecond\nhttp://127.0.0.1:8888/?token=abc123\nvia http://me:pass@proxy:3128\n",
        environment={"JUPYTER_TOKEN": "abc123"},
    )
    text = describe([notebook, Service("mlflow", "mlflow-mlflow-1")], 3)
    assert "The service notebook does not run" in text
    assert "mlflow-notebook-1 is restarting, exit code 1" in text
    assert "docker logs mlflow-notebook-1" in text
    assert text.splitlines()[-3:] == [
        "second",
        "http://127.0.0.1:8888/?token=***",
        "via http://***@proxy:3128",
    ]
    assert describe([Service("mlflow", "mlflow-mlflow-1")], 3) == ""


def test_as_the_engine_shows_it() -> None:
    shown = {
        "Name": "/mlflow-mlflow-1",
        "Config": {"Labels": {"com.docker.compose.service": "mlflow"}, "Env": ["A=b=c", "D="]},
        "State": {
            "Status": "running",
            "ExitCode": 0,
            "OOMKilled": False,
            "Error": "",
            "Health": {
                "Status": "unhealthy",
                "Log": [{"Output": "x"}, {"Output": f"Traceback\n{REFUSED}\nTrace..."}],
            },
        },
    }
    service = service_of(shown, "log")
    assert service == replace(SICK, probe=REFUSED, log="log", environment={"A": "b=c", "D": ""})
    without = {**shown, "Config": {}, "State": {"Status": "exited", "ExitCode": 2}}
    assert service_of(without, "").state == "exited, exit code 2"
