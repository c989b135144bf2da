# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys: what a server offers, what its fingerprints are."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._connection import (
    Endpoint,
    connect,
    negotiate,
    read_banner,
    resolve,
)

# Key type as it stands in known_hosts -> signature algorithms to ask a server for.
KEY_TYPES: dict[str, tuple[str, ...]] = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}


@dataclass(frozen=True)
class HostKey:
    """A public key: its type and its base64 blob, as they stand in known_hosts."""

    type: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """``SHA256:...`` as ssh-keygen -l prints it."""
        return fingerprint(self.blob)


def fingerprint(blob: str) -> str:
    """Return the ``SHA256:...`` fingerprint of a base64 key blob; ValueError if it is none."""
    try:
        raw = base64.b64decode(blob, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
    digest = hashlib.sha256(raw).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def scan(endpoint: Endpoint, key_types: list[str], timeout: float) -> list[HostKey]:
    """Ask a server for its host key of each type, one connection a type; types it does not have are left out.

    Raises:
        DiagnosedError: when the server cannot be spoken to at all.
    """
    addresses = resolve(endpoint, timeout)
    keys = []
    for key_type in key_types:
        sock = connect(addresses, timeout)
        read_banner(sock, timeout)
        try:
            transport = negotiate(sock, KEY_TYPES[key_type], timeout)
        except DiagnosedError as fault:
            if fault.cause.code == "no_common_algorithm" and "host key" in fault.seen:
                continue
            raise
        key = transport.get_remote_server_key()
        transport.close()
        keys.append(HostKey(key.get_name(), key.get_base64()))
    return keys
