# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys: what a server offers, and whether the one it shows is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys import (
    host_certificate as certificates,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.known_hosts import (
    KnownKey,
    read_known_hosts,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import KEY_TYPES, PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import Account
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import (
    Endpoint,
    SocketAddress,
    connect,
    negotiate,
    read_banner,
    resolve,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.transport import Transport

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
            if error.cause.code not in ("no_common_algorithm", "algorithm_missing_here", "connection_lost"):
                raise
            problems.append(error)
            continue
        key = transport.proved_key
        transport.close()
        keys.append(PublicKey(key.get_name(), key.get_base64()))
    if problems and not keys:
        raise problems[0]
    return keys


@dataclass(frozen=True)
class ServerKey:
    """The host key of a negotiated connection; the server proved that it holds it.

    Attributes:
        key: The key.
        certificate: Type and blob of the certificate that came with it, if one did.
    """

    key: PublicKey
    certificate: tuple[str, bytes] | None


@dataclass(frozen=True)
class TrustRules:
    """Which host keys count as the server's: the lines of known_hosts, the pinned fingerprints, or both.

    Attributes:
        host: The server's name without a port, which a certificate must name.
        known: Lines of known_hosts that apply.
        fingerprints: Pins.
        checks_files: Whether known_hosts counts at all.
    """

    host: str
    known: list[KnownKey]
    fingerprints: tuple[str, ...]
    checks_files: bool

    @property
    def _authorities(self) -> list[PublicKey]:
        return [known.key for known in self.known if known.marker == "@cert-authority"]

    @property
    def key_algorithms(self) -> list[str]:
        """Algorithms to ask for, certificates and those of known keys first, as OpenSSH does."""
        types = [known.key.type for known in self.known if not known.marker]
        ordered = sorted(KEY_TYPES, key=lambda key_type: key_type not in types)
        plain = [algorithm for key_type in ordered for algorithm in signature_algorithms(key_type)]
        if not (self._authorities and certificates.SUPPORTED):
            return plain
        return [f"{algorithm}{certificates.SUFFIX}" for algorithm in plain] + plain

    def check(self, shown: ServerKey) -> str:
        """Return why a key is trusted.

        Raises:
            DiagnosedError: host_key_revoked, host_key_unknown, host_key_changed, host_key_other_algorithm,
                host_certificate_invalid.
        """
        key = shown.key
        reasons = []
        if self.checks_files:
            reasons.append(self._check_files(shown))
        if self.fingerprints:
            if key.fingerprint not in self.fingerprints:
                seen = f"the server shows {key}; pinned: {', '.join(self.fingerprints)}"
                raise DiagnosedError("host_key_changed", seen)
            reasons.append("pinned")
        return f"{key}, {' and '.join(reasons)}"

    def _check_files(self, shown: ServerKey) -> str:
        key = shown.key
        trusted = [known for known in self.known if not known.marker]
        for known in self.known:
            if known.key.blob == key.blob and known.marker == "@revoked":
                raise DiagnosedError("host_key_revoked", f"{key}, revoked in {known.source}")
        for known in trusted:
            if known.key.blob == key.blob:
                return f"listed in {known.source}"
        if shown.certificate is not None:
            return certificates.check_certificate(*shown.certificate, self.host, self._authorities)
        if not trusted:
            raise DiagnosedError("host_key_unknown", f"the server shows {key}; no key of it is listed")
        listed = ", ".join(f"{known.key} ({known.source})" for known in trusted)
        same_type = any(known.key.type == key.type for known in trusted)
        code = "host_key_changed" if same_type else "host_key_other_algorithm"
        raise DiagnosedError(code, f"the server shows {key}; listed: {listed}")


def trust_rules(account: Account) -> TrustRules:
    """Read which host keys the account trusts.

    Raises:
        DiagnosedError: known_hosts_unreadable.
    """
    files = account.known_hosts_files
    known = read_known_hosts(files, account.endpoint.known_hosts_name) if files else []
    return TrustRules(account.endpoint.host, known, account.fingerprints, bool(files))


def negotiate_trusted(
    account: Account, addresses: Sequence[SocketAddress], transport: Transport, rules: TrustRules
) -> tuple[Transport, str]:
    """Return a connection whose host key is trusted, and why it is.

    A pin says nothing about its key's type: where the key negotiated is not pinned, but another of the same
    server is, a new connection with that one takes the place of `transport`.

    Raises:
        DiagnosedError: as `TrustRules.check`.
    """
    key = server_key(transport)
    try:
        return transport, rules.check(key)
    except DiagnosedError as error:
        transport.close()
        if rules.checks_files or error.cause.code != "host_key_changed":
            raise
        offered = scan(account.endpoint, KEY_TYPES, account.timeout)
        pinned = [other for other in offered if other.fingerprint in rules.fingerprints]
        if not pinned:
            shown = ", ".join(map(str, offered))
            seen = f"the server shows {shown}; pinned: {', '.join(rules.fingerprints)}"
            raise DiagnosedError("host_key_changed", seen) from None
    sock = connect(addresses, account.timeout)
    read_banner(sock, account.timeout)
    transport = negotiate(sock, signature_algorithms(pinned[0].type), account.timeout)
    return transport, rules.check(server_key(transport))


def server_key(transport: Transport) -> ServerKey:
    """Return the host key of a negotiated connection."""
    key = transport.proved_key
    blob = key.public_blob
    certificate = (blob.key_type, blob.key_blob) if blob is not None else None
    return ServerKey(PublicKey(key.get_name(), key.get_base64()), certificate)
