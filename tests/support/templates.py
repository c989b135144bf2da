"""What Ansible makes of the YAML files of a role."""

from pathlib import Path
from typing import Any

import yaml
from ansible.template import trust_as_template


def trusted(value: Any) -> Any:
    """Return a value as the loader of a role gives it: texts that are in it are templates."""
    if isinstance(value, dict):
        return {name: trusted(each) for name, each in value.items()}
    if isinstance(value, list):
        return [trusted(each) for each in value]
    return trust_as_template(value) if isinstance(value, str) else value


def variables_of(role: Path) -> dict[str, Any]:
    """Return what a role says of its own variables: the defaults, and what comes before them."""
    variables: dict[str, Any] = {}
    for file in (role / "defaults/main.yml", role / "vars/main.yml"):
        variables |= trusted(yaml.safe_load(file.read_text()))
    return variables
