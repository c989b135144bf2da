# SPDX-License-Identifier: GPL-3.0-or-later
"""User certificates: a certificate authority's word that a key may log in as somebody for a time."""

from __future__ import annotations

import time

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.host_certificate import (
    SUFFIX,
    SUPPORTED,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from cryptography.hazmat.primitives import serialization

_FOREVER = 2**64 - 1


def certificate_problem(text: str, user: str, key: PublicKey | None = None) -> str:
    """Return why a certificate cannot log in, as the end of a sentence about its file; empty where nothing is known.

    Args:
        text: What ``KEY-cert.pub`` holds.
        user: Who is to log in.
        key: The key that the certificate must be for; None for any.
    """
    fields = text.split()
    if len(fields) < 2 or not fields[0].endswith(SUFFIX):
        return "is no certificate of OpenSSH, such as `ssh-keygen -s AUTHORITY -I ID -n USER KEY.pub` makes"
    if not SUPPORTED:
        return ""
    try:
        certificate = serialization.load_ssh_public_identity(" ".join(fields[:2]).encode())
    except ValueError:
        return "is damaged"
    assert isinstance(certificate, serialization.SSHCertificate)
    certified = (
        certificate.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
        .split()
    )
    names = [name.decode(errors="replace") for name in certificate.valid_principals]
    now = time.time()
    problems = {
        "is not for users": certificate.type is not serialization.SSHCertificateType.USER,
        f"is for another key, {PublicKey(*certified).fingerprint}": key not in (None, PublicKey(*certified)),
        f"is for {', '.join(names)}, not for {user}": bool(names) and user not in names,
        f"is valid only from {_date(certificate.valid_after)}": now < certificate.valid_after,
        f"has expired at {_date(certificate.valid_before)}": now >= certificate.valid_before,
    }
    return " and ".join(problem for problem, present in problems.items() if present)


def _date(seconds: int) -> str:
    if seconds >= _FOREVER:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
