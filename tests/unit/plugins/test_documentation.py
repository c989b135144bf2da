"""Every plugin's documentation parses, and says of the options what the code says."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.ansible import COLLECTION, REPOSITORY

_MODULES = sorted(path.stem for path in (REPOSITORY / "plugins/modules").glob("*.py"))
_OTHERS = [
    (kind, name.stem)
    for kind, pattern in {"filter": "*.yml", "test": "*.yml", "connection": "*.py"}.items()
    for name in sorted((REPOSITORY / "plugins" / kind).glob(pattern))
]
_CHANGELOG = yaml.safe_load((REPOSITORY / "changelogs/changelog.yaml").read_text())["releases"]
# Releases, and the one that is yet to come.
_VERSIONS = {*_CHANGELOG, yaml.safe_load((REPOSITORY / "galaxy.yml").read_text())["version"]}
_COMPARED = ("type", "elements", "required", "default", "choices")


class CapturedError(Exception):
    """Ends a module where it declares its options."""


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """What ansible-doc says of all modules."""
    names = [f"{COLLECTION}.{name}" for name in _MODULES]
    command = [Path(sys.executable).parent / "ansible-doc", "--json", "-t", "module", *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    assert not done.stderr
    return {name.rpartition(".")[2]: plugin for name, plugin in json.loads(done.stdout).items()}


def declared(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The argument_spec that a module hands to AnsibleModule."""
    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    captured: dict[str, Any] = {}

    def capture(**arguments: Any) -> None:
        captured.update(arguments)
        raise CapturedError

    monkeypatch.setattr(module, "AnsibleModule", capture)
    with pytest.raises(CapturedError):
        module.main()
    assert captured["supports_check_mode"] is True
    return dict(captured["argument_spec"])


def comparable(options: dict[str, Any], nested: str) -> dict[str, Any]:
    """Options reduced to what both sides state."""
    reduced = {}
    for name, option in options.items():
        entry = {key: option.get(key) for key in _COMPARED}
        entry["required"] = bool(entry["required"])
        if isinstance(entry["default"], int | float) and not isinstance(entry["default"], bool):
            entry["default"] = float(entry["default"])
        entry["options"] = comparable(option.get(nested) or {}, nested)
        reduced[name] = entry
    return reduced


@pytest.mark.parametrize("name", _MODULES)
def test_options(name: str, documented: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    options = documented[name]["doc"]["options"]
    assert comparable(declared(name, monkeypatch), "options") == comparable(options, "suboptions")


@pytest.mark.parametrize("name", _MODULES)
def test_examples_and_attributes(name: str, documented: dict[str, Any]) -> None:
    plugin = documented[name]
    # Or the changelog would never name it.
    assert plugin["doc"]["version_added"] in _VERSIONS
    for task in yaml.safe_load(plugin["examples"]):
        assert task["name"]
        assert any(key.count(".") == 2 for key in task)
    assert plugin["return"]
    assert {"check_mode", "diff_mode", "idempotent"} <= plugin["doc"]["attributes"].keys()


@pytest.mark.parametrize(("kind", "name"), _OTHERS)
def test_other_plugins(kind: str, name: str) -> None:
    command = [Path(sys.executable).parent / "ansible-doc", "--json", "-t", kind, f"{COLLECTION}.{name}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    documentation = json.loads(done.stdout)[f"{COLLECTION}.{name}"]["doc"]
    assert documentation["short_description"]
    assert documentation["version_added"] in _VERSIONS


def test_the_newest_release_in_the_changelog_has_no_other_plugins() -> None:
    *_, newest = _CHANGELOG.values()
    others = {(kind, each["name"]) for kind, plugins in newest["plugins"].items() for each in plugins}
    assert others <= set(_OTHERS)
    assert {each["name"] for each in newest["modules"]} <= set(_MODULES)


def test_action_group_is_the_modules_that_log_in(documented: dict[str, Any]) -> None:
    runtime = yaml.safe_load((REPOSITORY / "meta/runtime.yml").read_text())
    logging_in = {name for name in _MODULES if "private_key_file" in documented[name]["doc"]["options"]}
    assert set(runtime["action_groups"]["sftp"]) == logging_in
