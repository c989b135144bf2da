"""What Ansible makes of the YAML files of a role."""

from typing import Any

from ansible.template import trust_as_template


def trusted(value: Any) -> Any:
    """Return a value as the loader of a role gives it: texts that are in it are templates."""
    if isinstance(value, dict):
        return {name: trusted(each) for name, each in value.items()}
    if isinstance(value, list):
        return [trusted(each) for each in value]
    return trust_as_template(value) if isinstance(value, str) else value
