"""What a deployment checks of a stack that is there, whichever tags leave out whatever else."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tests.support.templates import trusted, variables_of

ROLE = Path(__file__).parents[3] / "roles" / "mlflow_stack"
READ = {"engine": "answers", "home": "/opt/mlflow-stack", "project": "mlflow"}


def task_of(file: str, action: str, included: str) -> dict[str, Any]:
    tasks = yaml.safe_load((ROLE / "tasks" / file).read_text())
    (found,) = [task for task in tasks if task.get(f"ansible.builtin.{action}") == included]
    return found


def templar(**further: Any) -> Templar:
    given = {"mlflow_stack_dir": "/opt/mlflow-stack", "mlflow_stack_project": "mlflow", **further}
    return Templar(loader=DataLoader(), variables=variables_of(ROLE) | given)


@pytest.mark.parametrize(
    ("found", "checked"),
    [
        ({}, True),
        # Read by a play of the SFTP account, which asks for no database.
        ({"__mlflow_stack_host": READ}, True),
        ({"__mlflow_stack_host": READ, "__mlflow_stack_checked": {}}, False),
        ({"__mlflow_stack_host": {**READ, "engine": "absent"}, "__mlflow_stack_checked": {}}, True),
    ],
)
def test_what_no_preflight_has_checked_is_checked(found: dict[str, Any], checked: bool) -> None:
    assert (
        templar(**found).evaluate_conditional(
            trusted(task_of("main.yml", "include_tasks", "check.yml")["when"])
        )
        is checked
    )


def test_that_check_asks_for_the_database_and_the_store() -> None:
    ownership = task_of("check.yml", "import_tasks", "ownership.yml")
    asked = {name: trusted(value) for name, value in ownership["vars"].items()}
    for name in ("__mlflow_stack_keeps_database", "__mlflow_stack_keeps_store"):
        there = {"artifact_storage": "local", **asked}
        assert templar(**there).template(trusted(f"{{{{ {name} }}}}")) is True
    allowed = templar(mlflow_stack_backend_store_switch=True, **asked)
    assert allowed.template(trusted("{{ __mlflow_stack_keeps_database }}")) is False


def test_who_removes_or_looks_asks_for_neither() -> None:
    for name in ("__mlflow_stack_keeps_database", "__mlflow_stack_keeps_store"):
        assert templar(artifact_storage="local").template(trusted(f"{{{{ {name} }}}}")) is False


@pytest.mark.parametrize("directory", ["/opt/mlflow-stack", "/opt/mlflow-stack/next"])
def test_a_cutover_leaves_the_gateway_s_own_files_alone(directory: str) -> None:
    tasks = yaml.safe_load((ROLE / "tasks/configure_parts.yml").read_text())
    (condition,) = [task["when"] for task in tasks if task["name"] == "Configure the stack's gateway"]
    deployed = {**READ, "directory": {"known": ["gateway"]}}
    found = templar(
        __mlflow_stack_host=deployed,
        __mlflow_stack_files_dir=directory,
        mlflow_gateway_hostname="mlflow.example.net",
    )
    assert found.evaluate_conditional(trusted(condition)) is (directory == READ["home"])
