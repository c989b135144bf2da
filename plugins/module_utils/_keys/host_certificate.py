# SPDX-License-Identifier: GPL-3.0-or-later
"""Host certificates: whether a certificate authority of known_hosts vouches for a server's key."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

SUFFIX = "-cert-v01@openssh.com"
# cryptography reads certificates since version 40.
SUPPORTED = hasattr(serialization, "load_ssh_public_identity")


def check_certificate(kind: str, blob: bytes, host: str, authorities: Sequence[PublicKey]) -> str:
    """Return what vouches for a host key: authority, names and time of its certificate.

    Args:
        kind: Type of the certificate, as it stands before the blob.
        blob: The certificate; the connection proved that the server holds its key.
        host: Name that must be among the certificate's, without a port.
        authorities: Keys of the certificate authorities trusted for this host.

    Raises:
        DiagnosedError: host_certificate_invalid.
    """
    certificate = serialization.load_ssh_public_identity(f"{kind} ".encode() + base64.b64encode(blob))
    if not isinstance(certificate, serialization.SSHCertificate):
        raise DiagnosedError("host_certificate_invalid", f"{kind} is no certificate")
    signer = PublicKey(
        *certificate.signature_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
        .split()
    )
    names = [name.decode() for name in certificate.valid_principals]
    whom = ", ".join(names) or "any host"
    shown = f"certificate {certificate.key_id.decode()!r} of authority {signer} for {whom}"
    problems = {
        "it is not for hosts": certificate.type is not serialization.SSHCertificateType.HOST,
        "the authority is not trusted": signer.blob not in {authority.blob for authority in authorities},
        f"it is not for {host}": bool(names) and host not in names,
        "it is not valid now": not certificate.valid_after <= time.time() < certificate.valid_before,
        "its signature is wrong": not _is_signed(certificate),
    }
    for problem, present in problems.items():
        if present:
            raise DiagnosedError("host_certificate_invalid", f"{shown}: {problem}")
    return shown


def _is_signed(certificate: serialization.SSHCertificate) -> bool:
    try:
        certificate.verify_cert_signature()
    except InvalidSignature:
        return False
    return True
