"""Which cutovers ask whether the inventory's login and gateway are deployed, and when."""

from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
# Each with the file that begins with the question, or with the choice of what to do.
ASKING = {"artifact_storage": "decide", "mlflow_upgrade": "plan", "mlflow_database_move": "plan"}


@pytest.mark.parametrize(("role", "file"), ASKING.items())
def test_a_cutover_asks_before_it_changes_anything(role: str, file: str) -> None:
    tasks = yaml.safe_load((ROLES / role / f"tasks/{file}.yml").read_text())
    asked = [(task.get("ansible.builtin.include_role") or {}).get("tasks_from") for task in tasks]
    assert "front" in asked
    before = {name for task in tasks[: asked.index("front")] for name in task if "." in name}
    assert before <= {
        "ansible.builtin.import_role",
        "ansible.builtin.debug",
        "freegee.mlflow_sftp.mlflow_storage_switch_info",
    }


def test_these_are_all_that_write_files_from_the_inventory() -> None:
    writing = {
        path.parts[path.parts.index("roles") + 1]
        for path in ROLES.glob("*/tasks/**/*.yml")
        if "tasks_from: configure\n" in path.read_text() and "__mlflow_stack_files_dir" in path.read_text()
    }
    assert writing == set(ASKING)
