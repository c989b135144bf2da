# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys: what a server offers."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import (
    Endpoint,
    connect,
    negotiate,
    read_banner,
    resolve,
)

_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


def signature_algorithms(key_type: str) -> tuple[str, ...]:
    """Return what to ask a server for to be shown its key of this type."""
    return _RSA_SIGNATURES if key_type == "ssh-rsa" else (key_type,)


def scan(endpoint: Endpoint, key_types: Sequence[str], timeout: float) -> list[PublicKey]:
    """Ask a server for its host key of each type, one connection a type; types it does not have are left out.

    Raises:
        DiagnosedError: when the server cannot be spoken to at all.
    """
    addresses = resolve(endpoint, timeout)
    keys = []
    problems = []
    for key_type in key_types:
        sock = connect(addresses, timeout)
        read_banner(sock, timeout)
        try:
            transport = negotiate(sock, signature_algorithms(key_type), timeout)
        except DiagnosedError as error:
            # Some servers say that they lack this type, others hang up.
            if error.cause.code not in ("no_common_algorithm", "connection_lost"):
                raise
            problems.append(error)
            continue
        key = transport.get_remote_server_key()
        transport.close()
        keys.append(PublicKey(key.get_name(), key.get_base64()))
    if problems and not keys:
        raise problems[0]
    return keys
