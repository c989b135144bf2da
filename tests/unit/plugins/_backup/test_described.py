"""What a drill starts of a snapshot, whichever engine ran its services."""

import json
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.described import Described
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.second_project import second_project

COMPOSE = """\
services:
  mlflow:
    image: freegee/mlflow-server:1
  notebook:
    image: freegee/mlflow-client:1
  postgres:
    image: freegee/postgresql:1
"""
SERVER = {
    "Image": "sha256:1",
    "Command": ["/etc/mlflow_sftp/init_ssh_keys.sh"],
    "Args": ["mlflow", "server", "--default-artifact-root=sftp://u@h/$a"],
    "Env": ["A=1", "B=$x"],
    "Hosts": ["192.0.2.1 tajo.example.net"],
    "Healthcheck": {
        "Test": ["CMD", "true"],
        "Interval": 5_000_000_000,
        "Timeout": 10_000_000_000,
        "Retries": 6,
    },
    "Secrets": [{"SecretName": "mlflow_pgpass_1"}],
}
POSTGRES = {"Image": "sha256:2", "User": "postgres", "StopSignal": "SIGINT", "Env": ["PGHOST=/tmp"]}
GATEWAY = {"Image": "sha256:3"}


def swarm(**containers: dict[str, Any]) -> Described:
    services = [
        {"Spec": {"Name": f"my_flow_{name}", "TaskTemplate": {"ContainerSpec": container}}}
        for name, container in containers.items()
    ]
    return Described(json.dumps(services), "swarm")


def composed(described: Described) -> dict[str, Any]:
    return described.as_compose("/opt/drill/stack", "/etc/mlflow_sftp", "/run/secrets/mlflow_sftp_key")


@pytest.mark.parametrize(
    ("described", "images", "has_database"),
    [
        (Described(COMPOSE), ["freegee/mlflow-server:1", "freegee/postgresql:1"], True),
        (Described(COMPOSE.partition("  postgres")[0]), ["freegee/mlflow-server:1"], False),
        (swarm(mlflow=SERVER, gateway=GATEWAY, postgres=POSTGRES), ["sha256:1", "sha256:2"], True),
        (swarm(mlflow=SERVER, gateway=GATEWAY), ["sha256:1"], False),
    ],
)
def test_what_has_to_be_there(described: Described, images: list[str], has_database: bool) -> None:
    assert sorted(described.images) == images
    assert described.has_database is has_database


def test_a_server_of_a_swarm_as_compose_starts_it() -> None:
    project = composed(swarm(mlflow=SERVER, gateway=GATEWAY))
    assert set(project["services"]) == {"mlflow"}
    assert project["volumes"] == {}
    server = project["services"]["mlflow"]
    assert server["entrypoint"] == SERVER["Command"]
    # Compose would look for variables.
    assert server["command"][-1] == "--default-artifact-root=sftp://u@h/$$a"
    assert server["environment"] == ["A=1", "B=$$x"]
    assert server["extra_hosts"] == ["tajo.example.net:192.0.2.1"]
    assert server["healthcheck"] == {
        "test": ["CMD", "true"],
        "retries": 6,
        "interval": "5s",
        "timeout": "10s",
    }
    assert "/opt/drill/stack/.secrets/pgpass:/run/secrets/pgpass:ro,z" in server["volumes"]
    assert "user" not in server


def test_a_server_with_a_login_begins_with_the_users_that_it_had() -> None:
    own = {*composed(swarm(mlflow=SERVER))["services"]["mlflow"]["volumes"]}
    arguments = ["mlflow-sftp", "login-server", "/run/secrets/mlflow_login.json", "--host=0.0.0.0"]
    server = composed(swarm(mlflow={**SERVER, "Args": arguments}))["services"]["mlflow"]
    login = "/opt/drill/stack/.secrets/mlflow_login"
    assert {*server["volumes"]} - own == {
        f"{login}/server.json:/run/secrets/mlflow_login.json:ro,z",
        # Of whoever reads runs back, in the server's container.
        f"{login}/mlflow:/home/mlflow/.mlflow/credentials:ro,z",
    }


def test_its_database_has_a_volume_of_the_drill() -> None:
    project = second_project(composed(swarm(mlflow=SERVER, postgres=POSTGRES)), "my_flow-drill", "/opt/drill")
    assert set(project["services"]) == {"restored", "postgres"}
    assert project["volumes"] == {"postgres": {"name": "my_flow-drill_postgres", "external": True}}
    database = project["services"]["postgres"]
    assert database["volumes"][0] == "postgres:/var/lib/postgresql"
    assert (database["user"], database["stop_signal"]) == ("postgres", "SIGINT")
    assert database["networks"] == ["database"]


def test_a_server_reaches_the_account_on_no_network_of_the_swarm() -> None:
    described = composed(swarm(mlflow=SERVER, postgres=POSTGRES))
    project = second_project(described, "drill", "/opt/drill", outside="my_flow_swarm", way_out=True)
    assert project["networks"]["outside"] == {
        "name": "drill_outside",
        "labels": {"freegee.mlflow_sftp.owner": "/opt/drill"},
    }
    assert project["services"]["restored"]["networks"] == ["default", "database", "outside"]
    assert project["services"]["postgres"]["networks"] == ["database"]
