# SPDX-License-Identifier: GPL-3.0-or-later
"""What the text of a private key is, when it is not one that unattended services can use."""

from __future__ import annotations

from base64 import b64decode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

_PUBLIC = "is a public key; the private one has the same name without .pub"
_FOREIGN = {
    "PuTTY-User-Key-File": "is a PuTTY key; convert it with `puttygen KEY -O private-openssh -o NEW`",
    "---- BEGIN SSH2": _PUBLIC,
    "ssh-": _PUBLIC,
    "ecdsa-": _PUBLIC,
    "sk-": _PUBLIC,
    "-----BEGIN PUBLIC KEY": "is a public key; the private one is another file",
    "-----BEGIN CERTIFICATE": "is an X.509 certificate",
}
_EXPECTED = (
    "expected a file that begins with '-----BEGIN OPENSSH PRIVATE KEY-----' or another PEM private key, "
    "such as `ssh-keygen -t ed25519 -N ''` makes"
)


class KeyTextError(ValueError):
    """The text is no usable key; the message continues "the private key", and quotes nothing of the text."""


def parse_key_text(text: str) -> PrivateKey:
    """Return the unprotected ed25519, ECDSA or RSA key in OpenSSH or PEM format that `text` is.

    Raises:
        KeyTextError: What the text is instead, and what to do.
    """
    found = text.strip()
    if not found:
        raise KeyTextError(f"is empty; {_EXPECTED}")
    for start, what in _FOREIGN.items():
        if found.startswith(start):
            raise KeyTextError(what)
    if not found.startswith("-----BEGIN ") or "PRIVATE KEY-----" not in found.splitlines()[0]:
        raise KeyTextError(f"is not a private key that OpenSSH can use; {_EXPECTED}")
    if "-----END " not in found.splitlines()[-1]:
        raise KeyTextError("is cut short: its last line, '-----END ... PRIVATE KEY-----', is missing")
    key = _load(found)
    if not isinstance(key, PrivateKey):
        raise KeyTextError(
            "is neither an ed25519, an ECDSA nor an RSA key; make one with `ssh-keygen -t ed25519 -N ''`"
        )
    return key


def public_line(text: str) -> str:
    """Return the public half of a private key, ``type base64``; raises KeyTextError."""
    line: bytes = (
        parse_key_text(text)
        .public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    return line.decode()


def _load(text: str) -> object:
    openssh = "OPENSSH PRIVATE KEY" in text
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        return load(f"{text}\n".encode(), None)
    except TypeError:
        raise KeyTextError(
            "is protected by a passphrase, which unattended services cannot type; "
            "give a key of its own without one (`ssh-keygen -t ed25519 -N ''`)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        # The library's words may quote the text, so they are not repeated.
        if _is_dsa(text):
            raise KeyTextError(
                "is a DSA key, which OpenSSH no longer takes; make one with `ssh-keygen -t ed25519 -N ''`"
            ) from None
        raise KeyTextError(
            "is damaged: it has the first and last line of a key, and what is between cannot be read"
        ) from None


def _is_dsa(text: str) -> bool:
    if "BEGIN DSA" in text:
        return True
    body = "".join(line for line in text.splitlines() if not line.startswith("-----"))
    try:
        return b"ssh-dss" in b64decode(body)
    except ValueError:
        return False
