"""A role's defaults and its documented options must not drift apart."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
# Shared by several roles: the inventory sets them, so a role documents them without a default of its own.
SHARED_PREFIXES = ("sftp_", "artifact_storage", "mlflow_stack_")


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.exists() else {}


def options_of(role: str) -> dict[str, Any]:
    """The options of all entry points of a role."""
    specs = load(ROLES / role / "meta" / "argument_specs.yml").get("argument_specs", {})
    return {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}


def defaults_of(role: str) -> dict[str, Any]:
    return load(ROLES / role / "defaults" / "main.yml")


@pytest.fixture(params=sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir()))
def role(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_default_is_documented(role: str) -> None:
    assert sorted(set(defaults_of(role)) - set(options_of(role))) == []


def test_documented_defaults_are_the_real_ones(role: str) -> None:
    defaults = defaults_of(role)
    documented = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
    assert documented == {name: defaults.get(name) for name in documented}


def test_every_default_value_is_documented(role: str) -> None:
    options = options_of(role)
    undocumented = [name for name in defaults_of(role) if name in options and "default" not in options[name]]
    assert undocumented == []


def test_required_options_have_no_default(role: str) -> None:
    required = {name for name, option in options_of(role).items() if option.get("required")}
    assert sorted(required & set(defaults_of(role))) == []


def test_options_carry_the_name_of_the_role_or_are_shared(role: str) -> None:
    strangers = [n for n in options_of(role) if not n.startswith((f"{role}_", *SHARED_PREFIXES))]
    assert strangers == []


def test_every_option_is_described_and_typed(role: str) -> None:
    assert [n for n, option in options_of(role).items() if not {"description", "type"} <= set(option)] == []
