# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading a private key file, with a named cause for each way in which it can be unusable."""

from __future__ import annotations

import io
import os
from pathlib import Path

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_FOREIGN = {
    b"PuTTY-User-Key-File": "a PuTTY key",
    b"---- BEGIN SSH2": "a public key in RFC 4716 format",
    b"ssh-": "a public key; the private one has the same name without .pub",
    b"ecdsa-": "a public key; the private one has the same name without .pub",
    b"-----BEGIN CERTIFICATE": "an X.509 certificate",
}


def load_private_key(file: str, passphrase: str | None) -> paramiko.PKey:
    """Load an ed25519, ECDSA or RSA key in OpenSSH or PEM format, and FILE-cert.pub if it is there.

    Raises:
        DiagnosedError: key_missing, key_unreadable, key_too_open, key_encrypted, key_passphrase_wrong,
            key_format.
    """
    path = Path(file).expanduser()
    try:
        status = path.stat()
        data = path.read_bytes()
    except FileNotFoundError:
        raise DiagnosedError("key_missing", f"{path} does not exist", key=path) from None
    except OSError as error:
        raise DiagnosedError("key_unreadable", f"{path}: {error.strerror}", key=path) from None
    mode = status.st_mode & 0o777
    # As OpenSSH does: another owner's mode is not ours to judge.
    if status.st_uid == os.getuid() and mode & 0o077:
        raise DiagnosedError("key_too_open", f"{path} has mode {mode:04o}", key=path)
    key = parse_private_key(data, passphrase, path)
    certificate = Path(f"{path}-cert.pub")
    if certificate.exists():
        key.load_certificate(str(certificate))
    return key


def parse_private_key(data: bytes, passphrase: str | None, path: Path) -> paramiko.PKey:
    """Read what a key file holds, or would hold; raises DiagnosedError as `load_private_key` does."""
    for start, name in _FOREIGN.items():
        if data.startswith(start):
            raise DiagnosedError("key_format", f"{path} is {name}", key=path)
    password = passphrase.encode() if passphrase else None
    openssh = b"OPENSSH PRIVATE KEY" in data
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        try:
            key = load(data, password)
        except TypeError:
            if password is None:
                raise DiagnosedError("key_encrypted", f"{path} is encrypted", key=path) from None
            key = load(data, None)
    except (ValueError, UnsupportedAlgorithm):
        # The library's words may quote the file, so they are not repeated.
        if password is not None and _is_key_file(data):
            seen = f"{path} does not open with the passphrase given"
            raise DiagnosedError("key_passphrase_wrong", seen, key=path) from None
        seen = f"{path} ({len(data)} bytes) is damaged, or of a format that cannot be read"
        raise DiagnosedError("key_format", seen, key=path) from None
    return _for_paramiko(key, path)


def _for_paramiko(key: object, path: Path) -> paramiko.PKey:
    key_class: type[paramiko.Ed25519Key] | type[paramiko.ECDSAKey] | type[paramiko.RSAKey]
    match key:
        case Ed25519PrivateKey():
            key_class = paramiko.Ed25519Key
        case EllipticCurvePrivateKey():
            key_class = paramiko.ECDSAKey
        case RSAPrivateKey():
            key_class = paramiko.RSAKey
        case _:
            seen = f"{path} is neither an ed25519, an ECDSA nor an RSA key"
            raise DiagnosedError("key_format", seen, key=path)
    # paramiko's classes read few formats, each of them others; this one they all read.
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return key_class.from_private_key(io.StringIO(text.decode()))


def _is_key_file(data: bytes) -> bool:
    return data.startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in data.rstrip()[-40:]
