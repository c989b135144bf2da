# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the public half of an SSH private key."""

from __future__ import annotations

from collections.abc import Callable

from ansible.errors import AnsibleFilterError

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.key_text import (
        KeyTextError,
        public_line,
    )
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None


def ssh_public_key(private_key: str) -> str:
    """Return the ``type base64`` line of an unencrypted private key in OpenSSH or PEM format."""
    if IMPORT_ERROR:
        raise AnsibleFilterError(
            "ssh_public_key needs the Python package 'cryptography' on the controller; bin/setup installs it"
        )
    try:
        return public_line(private_key)
    except KeyTextError as error:
        raise AnsibleFilterError(f"the private key {error}") from None


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[[str], str]]:
        return {"ssh_public_key": ssh_public_key}
