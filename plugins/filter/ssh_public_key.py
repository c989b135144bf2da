# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the public half of an SSH private key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

try:
    from cryptography.hazmat.primitives import serialization
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
    data = private_key.encode()
    if b"OPENSSH PRIVATE KEY" in data:
        load: Callable[..., Any] = serialization.load_ssh_private_key
    else:
        load = serialization.load_pem_private_key
    try:
        key = load(data, password=None)
    except TypeError:
        raise AnsibleFilterError(
            "the private key is protected by a passphrase, which unattended services cannot type; "
            "give a key of its own without one (ssh-keygen -t ed25519 -N '')"
        ) from None
    except Exception:
        # The library's own text may quote the input, and the input is secret.
        raise AnsibleFilterError(
            "this is not a private key that OpenSSH can use; expected a file that begins with "
            "'-----BEGIN OPENSSH PRIVATE KEY-----' or a PEM private key"
        ) from None
    public: bytes = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode()


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ssh_public_key": ssh_public_key}
