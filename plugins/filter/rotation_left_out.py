# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the Docker hosts that a rotation of an SSH key would lock out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleFilterError
from jinja2.exceptions import UndefinedError

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.key_text import (
        KeyTextError,
        public_line,
    )
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None


def rotation_left_out(hosts: Iterable[Mapping[str, Any]], account: str, public_key: str) -> list[str]:
    """Return a sentence for each host whose inventory has this key (``type base64``) for this ``user@host:port``.

    A host whose key cannot be read is one of them: it may be the same.
    """
    if IMPORT_ERROR:
        raise AnsibleFilterError(
            f"rotation_left_out needs the Python package '{IMPORT_ERROR.name}' on the controller; bin/setup installs it"
        )
    return [found for each in hosts if (found := _sentence(each, account, public_key.split()))]


def _sentence(variables: Mapping[str, Any], account: str, key: list[str]) -> str:
    name = variables["inventory_hostname"]
    try:
        same = _account(variables) == account and _key(variables)[1:2] == key[1:2]
    except (AnsibleError, UndefinedError, KeyTextError, OSError) as error:
        return f"Whether {name} has the same key is not known: {error}."
    return f"{name} has the same key, and would be locked out without it." if same else ""


def _account(variables: Mapping[str, Any]) -> str:
    return "{}@{}:{}".format(*(variables.get(f"sftp_{name}") for name in ("user", "host", "port")))


def _key(variables: Mapping[str, Any]) -> list[str]:
    """Return type and base64 of the key that a host's inventory brings; nothing where it generates one of its own."""
    if variables.get("sftp_client_generate_key"):
        return []
    text = variables.get("sftp_private_key")
    file = variables.get("sftp_private_key_file")
    if not text and file:
        text = Path(str(file)).expanduser().read_text(encoding="utf-8", errors="replace")
    return public_line(str(text)).split() if text else []


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"rotation_left_out": rotation_left_out}
