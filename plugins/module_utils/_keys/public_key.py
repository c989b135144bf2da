# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH public keys and their fingerprints."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

# As they stand in known_hosts; DSA is long gone from every library.
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
# Best first; without the one by SHA-1, which has the name of the type.
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class PublicKey:
    """A public key: its type and its base64 blob, as they stand in known_hosts and authorized_keys."""

    type: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """``SHA256:...`` as ssh-keygen -l prints it."""
        return fingerprint(self.blob)

    def __str__(self) -> str:
        return f"{self.type} {self.fingerprint}"


def signature_algorithms(key_type: str) -> tuple[str, ...]:
    """Return the kinds of signatures that a key of a type makes, best first."""
    return RSA_SIGNATURES if key_type == "ssh-rsa" else (key_type,)


def fingerprint(blob: str) -> str:
    """Return the ``SHA256:...`` fingerprint of a base64 key blob; ValueError if it is none."""
    try:
        raw = base64.b64decode(blob, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
    digest = hashlib.sha256(raw).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def is_public_key(blob: str) -> bool:
    """Tell whether a text can be the base64 blob of a key."""
    try:
        return len(base64.b64decode(blob, validate=True)) > 4
    except binascii.Error:
        return False
