"""What the role of the stack knows of MLflow's login."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tests.support.templates import trusted

ROLE = Path(__file__).parents[3] / "roles" / "mlflow_stack"


def value(name: str, **given: Any) -> Any:
    expression = yaml.safe_load((ROLE / "vars/main.yml").read_text())[name]
    return Templar(loader=DataLoader(), variables=given).template(trusted(expression))


def read(users: list[dict[str, Any]]) -> dict[str, str]:
    return {"content": base64.b64encode(json.dumps({"users": users}).encode()).decode()}


@pytest.mark.parametrize(
    ("server", "password"),
    [
        # The inventory's may be another one by then, as after a way back.
        (read([{"name": "admin", "password": "of the server"}, {"name": "service-train"}]), "of the server"),
        ({"failed": True}, ""),
        ({}, ""),
    ],
)
def test_the_administrator_s_password_is_the_server_s(server: dict[str, Any], password: str) -> None:
    given = {"__mlflow_stack_login_server": server, "mlflow_stack_auth_admin_password": "of the inventory"}
    assert value("__mlflow_stack_admin_password", **given) == password


@pytest.mark.parametrize(
    ("server", "retired"),
    [
        # As with --tags service, or after a restore: containers still log in as they are deployed.
        (read([{"name": "admin", "password": "p"}, {"name": "service-train"}]), ["service-monitor"]),
        (read([{"name": "admin", "password": "p"}]), ["service-train", "service-monitor"]),
        ({}, ["service-train", "service-monitor"]),
    ],
)
def test_users_of_services_that_are_deployed_are_not_retired(
    server: dict[str, Any], retired: list[str]
) -> None:
    names = ("__mlflow_stack_deployed_users", "__mlflow_stack_retired_users")
    variables = trusted(yaml.safe_load((ROLE / "vars/main.yml").read_text()))
    known = {
        "__mlflow_stack_login_server": server,
        "__mlflow_stack_login": {"retired": ["service-train", "service-monitor"]},
        **{name: variables[name] for name in names},
    }
    found = Templar(loader=DataLoader(), variables=known).template(variables[names[1]])
    assert sorted(found) == sorted(retired)
