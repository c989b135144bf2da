# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the fingerprint of an SSH public key."""

from __future__ import annotations

from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import fingerprint


def ssh_fingerprint(public_key: str) -> str:
    """Return the ``SHA256:...`` fingerprint of a ``type base64 [comment]`` line."""
    fields = str(public_key).split()
    if len(fields) < 2:
        raise AnsibleFilterError(
            f"ssh_fingerprint: '{public_key}' is no SSH public key; expected 'type base64 [comment]', "
            "for example the content of id_ed25519.pub"
        )
    try:
        return fingerprint(fields[1])
    except ValueError as error:
        raise AnsibleFilterError(f"ssh_fingerprint: the key of '{fields[0]}' is {error}") from None


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"ssh_fingerprint": ssh_fingerprint}
