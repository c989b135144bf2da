"""What the role of the stack knows of MLflow's login."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).parents[3] / "roles" / "mlflow_stack"


def value(name: str, **given: Any) -> Any:
    expression = yaml.safe_load((ROLE / "vars/main.yml").read_text())[name]
    return Templar(loader=DataLoader(), variables=given).template(trust_as_template(expression))


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
