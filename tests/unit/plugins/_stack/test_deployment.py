"""What is read of a stack that a swarm serves."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Project

NETWORKS = {"n1": "mlflow_swarm", "n2": "mlflow_swarm_database"}


def service(name: str, image: str, *networks: str, **container: Any) -> dict[str, Any]:
    """As ``docker service inspect`` tells it."""
    template = {
        "ContainerSpec": {"Image": image, **container},
        "Networks": [{"Target": each} for each in networks],
    }
    return {"Spec": {"Name": f"mlflow_{name}", "TaskTemplate": template}}


def test_a_project_on_a_swarm() -> None:
    project = Project.from_services(
        "mlflow",
        [
            service("postgres", "sha256:2", "n2"),
            service("mlflow", "sha256:1", "n2", "n1", Hosts=["192.0.2.1 tajo.example.net other"]),
            service("gateway", "sha256:3", "n1"),
        ],
        NETWORKS,
    )
    assert project.on_swarm
    assert (project.image, project.postgres_image) == ("sha256:1", "sha256:2")
    assert project.images == ("sha256:1", "sha256:2", "sha256:3")
    assert project.services == ("gateway", "mlflow", "postgres")
    assert project.networks == ("mlflow_swarm_database", "mlflow_swarm")
    # Where the servers' name is, and the way out.
    assert project.network == "mlflow_swarm"
    assert project.hosts == ("tajo.example.net:192.0.2.1",)


def test_a_swarm_with_a_database_elsewhere() -> None:
    project = Project.from_services("mlflow", [service("mlflow", "sha256:1", "n1")], NETWORKS)
    assert project.postgres_image == ""
    assert project.networks == ("mlflow_swarm",)
    assert project.hosts == ()


@pytest.mark.parametrize(
    "told",
    [
        ["tajo.example.net=192.0.2.1", "six.example.net=2001:db8::1"],
        ["tajo.example.net:192.0.2.1", "six.example.net:2001:db8::1"],
        {"tajo.example.net": "192.0.2.1", "six.example.net": "2001:db8::1"},
    ],
)
def test_names_that_no_dns_knows_are_told_by_compose_as_well(told: object) -> None:
    config = {"name": "mlflow", "services": {"mlflow": {"image": "server:1", "extra_hosts": told}}}
    assert Project.from_config(config).hosts == ("tajo.example.net:192.0.2.1", "six.example.net:2001:db8::1")
