# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys: what a server offers, and whether the one it shows is trusted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys import (
    host_certificate as certificates,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.known_hosts import (
    KnownKey,
    read_known_hosts,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import (
    KEY_TYPES,
    PublicKey,
    signature_algorithms,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import Account
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import (
    Endpoint,
    SocketAddress,
    greet,
    negotiate,
    resolve,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.transport import Transport


def scan(
    endpoint: Endpoint, key_types: Sequence[str], timeout: float, enough: Collection[str] = ()
) -> list[PublicKey]:
    """Ask a server for its host key of each type that it has, one connection a type.

    A server may count connections without a login as failures, and turn the client away after some of them.

    Args:
        endpoint: The server.
        key_types: The types to ask for.
        timeout: Seconds.
        enough: Fingerprints: once all of them were shown, no further key is asked for.

    Returns:
        The keys, in the order of `key_types`.

    Raises:
        DiagnosedError: when the server cannot be spoken to at all.
    """
    addresses = resolve(endpoint, timeout)
    transport = _negotiate(addresses, key_types, timeout)
    keys = [_shown_key(transport)]
    offered = transport.offered["host keys"]
    for key_type in further_types(key_types, keys[0].type, offered):
        if enough and set(enough) <= {key.fingerprint for key in keys}:
            break
        try:
            keys.append(_shown_key(_negotiate(addresses, [key_type], timeout)))
        except DiagnosedError as error:
            # Some servers say that they lack this type, others hang up.
            if error.cause.code not in ("no_common_algorithm", "algorithm_missing_here", "connection_lost"):
                raise
    return sorted(
        keys, key=lambda key: key_types.index(key.type) if key.type in key_types else len(key_types)
    )


def further_types(key_types: Sequence[str], shown: str, offered: Collection[str]) -> list[str]:
    """Return which types to ask for after the first key was shown: those that the server offers, RSA first.

    What is pinned and is not the key that is shown first is most often the RSA key.
    """
    further = [
        other for other in key_types if other != shown and set(signature_algorithms(other)) & set(offered)
    ]
    return sorted(further, key=KEY_TYPES.index, reverse=True)


def _negotiate(addresses: Sequence[SocketAddress], key_types: Sequence[str], timeout: float) -> Transport:
    sock, _ = greet(addresses, timeout)
    return negotiate(sock, [name for each in key_types for name in signature_algorithms(each)], timeout)


def _shown_key(transport: Transport) -> PublicKey:
    key = transport.proved_key
    transport.close()
    return PublicKey(key.get_name(), key.get_base64())


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
        first_types: Types of keys to ask for first, where no file tells.
    """

    host: str
    known: list[KnownKey]
    fingerprints: tuple[str, ...]
    checks_files: bool
    first_types: tuple[str, ...] = ()

    @property
    def _authorities(self) -> list[PublicKey]:
        return [known.key for known in self.known if known.marker == "@cert-authority"]

    @property
    def key_algorithms(self) -> list[str]:
        """Algorithms to ask for, certificates and those of known keys first, as OpenSSH does."""
        types = [known.key.type for known in self.known if not known.marker] or self.first_types
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
    return TrustRules(account.endpoint.host, known, account.fingerprints, bool(files), account.host_key_types)


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
        shown = [key.key]
    for key_type in further_types(KEY_TYPES, key.key.type, transport.offered["host keys"]):
        transport = _negotiate(addresses, [key_type], account.timeout)
        shown.append(server_key(transport).key)
        if shown[-1].fingerprint in rules.fingerprints:
            return transport, rules.check(server_key(transport))
        transport.close()
    seen = f"the server shows {', '.join(map(str, shown))}; pinned: {', '.join(rules.fingerprints)}"
    raise DiagnosedError("host_key_changed", seen)


def server_key(transport: Transport) -> ServerKey:
    """Return the host key of a negotiated connection."""
    key = transport.proved_key
    blob = key.public_blob
    certificate = (blob.key_type, blob.key_blob) if blob is not None else None
    return ServerKey(PublicKey(key.get_name(), key.get_base64()), certificate)
