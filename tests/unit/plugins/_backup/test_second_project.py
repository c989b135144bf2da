"""What a drill starts beside a stack, and what it must not share with it."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.second_project import (
    only_postgres,
    require_apart,
    second_project,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError

OWNER = "freegee.mlflow_sftp.owner"
CONFIG: dict[str, Any] = {
    "name": "mlflow",
    "services": {
        "mlflow": {
            "image": "server:1",
            "ports": [{"published": "5000", "target": 5000}],
            "restart": "unless-stopped",
            "depends_on": {"postgres": {"condition": "service_healthy"}},
            "labels": {OWNER: "/opt/mlflow-stack", "other": "1"},
            "networks": {"default": None, "database": None},
            "volumes": [{"type": "volume", "source": "artifacts", "target": "/mlruns"}],
        },
        "postgres": {
            "image": "postgres:1",
            "networks": {"database": None},
            "volumes": [
                {"type": "volume", "source": "postgres", "target": "/var/lib/postgresql"},
                {"type": "bind", "source": "/opt/mlflow-stack/postgres", "target": "/etc/mlflow_postgres"},
            ],
        },
        "notebook": {"image": "client:1", "ports": [{"published": "8888"}]},
    },
    "networks": {"default": {"name": "lab", "external": True}, "database": {"name": "mlflow_database"}},
    "volumes": {"artifacts": {"name": "mlflow_artifacts"}, "postgres": {"name": "mlflow_postgres"}},
}


def made(**options: str) -> dict[str, Any]:
    return second_project(CONFIG, "mlflow-drill", "/opt/drill", **options)


def test_only_the_server_and_its_database_under_other_names() -> None:
    project = made()
    assert project["name"] == "mlflow-drill"
    assert set(project["services"]) == {"restored", "postgres"}
    assert {each["name"] for each in project["volumes"].values()} == {
        "mlflow-drill_artifacts",
        "mlflow-drill_postgres",
    }
    assert {each["name"] for each in project["networks"].values()} == {
        "mlflow-drill",
        "mlflow-drill_database",
    }
    assert all(each["labels"][OWNER] == "/opt/drill" for each in project["services"].values())
    assert all(each["labels"][OWNER] == "/opt/drill" for each in project["networks"].values())


def test_nobody_reaches_it_and_it_reaches_nobody() -> None:
    project = made()
    assert not any("ports" in each for each in project["services"].values())
    assert all(each["internal"] for each in project["networks"].values())
    assert project["services"]["restored"]["restart"] == "no"


def test_the_account_is_reached_on_the_stacks_network() -> None:
    project = made(outside="lab")
    assert project["networks"]["outside"] == {"name": "lab", "external": True}
    assert project["services"]["restored"]["networks"] == ["default", "database", "outside"]
    assert project["services"]["postgres"]["networks"] == ["database"]


def test_the_restored_account_is_read_only() -> None:
    assert (
        "/opt/drill/account:/opt/drill/account:ro,z"
        in made(account="/opt/drill/account")["services"]["restored"]["volumes"]
    )
    assert len(CONFIG["services"]["mlflow"]["volumes"]) == 1


@pytest.mark.parametrize(
    ("project", "directory", "words"),
    [
        ("mlflow", "/opt/drill", "the project of the stack itself"),
        ("drill", "/opt/mlflow-stack", "drill's is deleted"),
        ("drill", "/opt/mlflow-stack/drill", "drill's is deleted"),
        ("drill", "/opt", "drill's is deleted"),
    ],
)
def test_the_stacks_own_names_are_refused(project: str, directory: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        require_apart(project, directory, "mlflow", "/opt/mlflow-stack")


def test_a_name_beside_is_fine() -> None:
    require_apart("mlflow-drill", "/opt/mlflow-stack-drill", "mlflow", "/opt/mlflow-stack")


def test_postgresql_alone_needs_nothing_of_others() -> None:
    assert only_postgres(CONFIG) == {
        "name": "mlflow",
        "services": {"postgres": CONFIG["services"]["postgres"]},
        "networks": {"database": {"name": "mlflow_database"}},
        "volumes": {"postgres": {"name": "mlflow_postgres"}},
    }
