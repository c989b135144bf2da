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
    of_role = trusted(yaml.safe_load((ROLE / "vars/main.yml").read_text()))
    variables = {each: of_role[each] for each in of_role if "deployed_login" in each} | given
    return Templar(loader=DataLoader(), variables=variables).template(of_role[name])


def read(*names: str) -> dict[str, str]:
    """What the module slurp answers."""
    users = [{"name": "admin", "password": "of the server", "admin": True}]
    users += [{"name": name, "password": "p", "grants": []} for name in names]
    return {"content": base64.b64encode(json.dumps({"users": users}).encode()).decode()}


@pytest.mark.parametrize(
    ("server", "password"),
    [
        # The inventory's may be another one by then, as after a way back.
        (read("service-train"), "of the server"),
        ({"skipped": True, "skip_reason": "Conditional result was False"}, ""),
    ],
)
def test_the_administrator_s_password_is_the_server_s(server: dict[str, Any], password: str) -> None:
    given = {"__mlflow_stack_login_server": server, "mlflow_stack_auth_admin_password": "of the inventory"}
    assert value("__mlflow_stack_admin_password", **given) == password


@pytest.mark.parametrize(
    ("given", "retired"),
    [
        # As with --tags service, or after a restore: containers still log in as they are deployed.
        ({"__mlflow_stack_login_server": read("service-train")}, ["service-monitor"]),
        ({"__mlflow_stack_login_server": read()}, ["service-train", "service-monitor"]),
        # Nobody has read it.
        ({}, ["service-train", "service-monitor"]),
    ],
)
def test_users_of_services_that_are_deployed_are_not_retired(
    given: dict[str, Any], retired: list[str]
) -> None:
    login = {"retired": ["service-train", "service-monitor"]}
    found = value("__mlflow_stack_retired_users", __mlflow_stack_login=login, **given)
    assert sorted(found) == sorted(retired)


def test_the_login_s_file_is_read_in_one_place() -> None:
    """What its absence means is decided once."""
    marks = ("__mlflow_stack_login_server_path", "mlflow_login/server.json")
    tasks = {path.name: path.read_text() for path in ROLE.parent.glob("*/tasks/**/*.yml")}
    assert [name for name, text in tasks.items() if any(mark in text for mark in marks)] == ["read_login.yml"]
