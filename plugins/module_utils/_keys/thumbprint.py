# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbprints of public keys (RFC 7638), by which an ACME server knows an account."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode

# By OpenSSL's name: the name of RFC 7518, and the bytes of a coordinate.
_CURVES = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48)}


def elliptic_thumbprint(curve: str, x: int, y: int) -> str:
    """Return the thumbprint of a public key, SHA-256 in base64url without padding.

    Args:
        curve: `secp256r1` or `secp384r1`; ValueError for another.
        x: First coordinate.
        y: Second coordinate.
    """
    if curve not in _CURVES:
        raise ValueError(f"a key on the curve '{curve}'; expected {' or '.join(_CURVES)}")
    name, size = _CURVES[curve]
    # Sorted and without spaces, or it is another thumbprint.
    members = {
        "crv": name,
        "kty": "EC",
        "x": _base64url(x.to_bytes(size, "big")),
        "y": _base64url(y.to_bytes(size, "big")),
    }
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
