# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what is wrong with a host's variables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.utils.display import Display
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.names import unknown_names

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.key_file import KeyFile
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.values import (
        value_problems,
        value_warnings,
    )
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None

# On the controller, as value_problems takes them.
_FILES = (
    "sftp_private_key_file",
    "mlflow_rotate_private_key_file",
    "sftp_certificate_file",
    "mlflow_gateway_certificate_file",
    "mlflow_gateway_key_file",
    "mlflow_stack_server_ca_file",
    "mlflow_gateway_acme_ca_file",
)
_ROLES = Path(__file__).resolve().parents[2] / "roles"


def input_findings(variables: Mapping[str, Any], required: Collection[str] = ()) -> list[str]:
    """Return a sentence for each of these variables that no role can use, and warn of those that nothing reads.

    `required` are those that have to be there.
    """
    if IMPORT_ERROR:
        raise AnsibleFilterError(
            f"input_findings needs the Python package '{IMPORT_ERROR.name}' on the controller; bin/setup installs it"
        )
    specs = _specs()
    given = {
        name: value
        for name in specs
        if name in variables and (value := _value(variables, name)) is not _LATER
    }
    for warning in [*unknown_names(variables, specs), *value_warnings(given, specs)]:
        Display().warning(warning)
    missing = [
        f"{name} is not set; the inventory has to say it." for name in required if name not in variables
    ]
    files = [_key_file(str(given[name])) if given.get(name) else None for name in _FILES]
    return [*missing, *value_problems(given, specs, *files)]


_LATER = object()


def _value(variables: Mapping[str, Any], name: str) -> Any:
    # A template may name what is only known later; who uses the value will say so.
    try:
        return variables[name]
    except AnsibleError:
        return _LATER


@cache
def _specs() -> dict[str, dict[str, Any]]:
    """The options of all entry points of all roles; sftp_* is described by several."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(_ROLES.glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            for name, option in entry.get("options", {}).items():
                found.setdefault(name, option)
    return found


def _key_file(name: str) -> KeyFile:
    path = Path(name).expanduser()
    try:
        return KeyFile(
            name, mode=path.stat().st_mode & 0o777, text=path.read_text(encoding="utf-8", errors="replace")
        )
    except IsADirectoryError:
        return KeyFile(name, "that is a directory; name the key in it")
    except FileNotFoundError:
        return KeyFile(name, "the controller has no such file")
    except OSError as error:
        return KeyFile(name, f"the controller cannot read it: {error.strerror}")


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"input_findings": input_findings}
