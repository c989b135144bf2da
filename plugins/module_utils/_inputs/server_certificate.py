# SPDX-License-Identifier: GPL-3.0-or-later
"""X.509 certificates of a server and their keys: why a client would not take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

Problem = tuple[Literal["certificate", "key"], str]

# OpenSSL of Debian takes nothing smaller, at its level of security.
_LEAST_RSA_BITS = 2048


def certificate_problems(
    certificate: str, key: str, names: Sequence[str], now: datetime | None = None
) -> list[Problem]:
    """Return why a server cannot use a certificate: what it is about, and the end of a sentence about that file.

    Args:
        certificate: PEM; the server's own certificate first, then the intermediate ones.
        key: PEM, without a passphrase.
        names: Host names that the certificate has to be for.
        now: When; by default the present time, with time zone.
    """
    chain, problems = _load_chain(certificate)
    private, problem = _load_key(key)
    problems = [*problems, *([problem] if problem else [])]
    if chain:
        moment = now or datetime.now(chain[0].not_valid_after_utc.tzinfo)
        problems += [("certificate", said) for said in _problems_of(chain, names, moment)]
    if chain and private is not None and _public(chain[0].public_key()) != _public(private.public_key()):
        problems.append(("key", "is not the certificate's: their public halves differ"))
    return problems


def _load_chain(text: str) -> tuple[list[x509.Certificate], list[Problem]]:
    if "-----BEGIN CERTIFICATE-----" not in text:
        return [], [("certificate", "is no certificate in PEM format (-----BEGIN CERTIFICATE-----)")]
    try:
        return x509.load_pem_x509_certificates(text.encode()), []
    except ValueError:
        return [], [("certificate", "is damaged: it cannot be decoded")]


def _load_key(text: str) -> tuple[PrivateKeyTypes | None, Problem | None]:
    if "PRIVATE KEY-----" not in text:
        return None, ("key", "is no private key in PEM format (-----BEGIN PRIVATE KEY-----)")
    if "OPENSSH PRIVATE KEY" in text:
        return None, ("key", "is a key for SSH; expected PEM format (-----BEGIN PRIVATE KEY-----)")
    if "ENCRYPTED" in text:
        return None, (
            "key",
            "has a passphrase, which nobody could type at a start; `openssl pkey -in OLD -out NEW` removes it",
        )
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, ("key", "is damaged: it cannot be decoded")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _LEAST_RSA_BITS:
        return key, ("key", f"has {key.key_size} bits; expected RSA with {_LEAST_RSA_BITS} or more, or ECDSA")
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key, ("key", "is of a kind that browsers do not take; expected RSA or ECDSA")
    return key, None


def _problems_of(chain: Sequence[x509.Certificate], names: Sequence[str], now: datetime) -> Iterator[str]:
    own = chain[0]
    if now < own.not_valid_before_utc:
        yield f"is valid only from {own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if now >= own.not_valid_after_utc:
        yield f"has expired at {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    own_names = _names(own)
    lacking = [name for name in names if not any(_covers(pattern, name) for pattern in own_names)]
    if lacking:
        yield f"is for {', '.join(own_names) or 'no name'}, not for {', '.join(lacking)}"
    if not _serves(own):
        yield "is not for servers: its extended key usage lacks serverAuth"
    for lower, upper in pairwise(chain):
        if lower.issuer != upper.subject:
            yield (
                f"is out of order: after {lower.subject.rfc4514_string()} comes {upper.subject.rfc4514_string()}, "
                f"and not {lower.issuer.rfc4514_string()}, who issued it"
            )
            return


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)


def _covers(pattern: str, name: str) -> bool:
    pattern, name = pattern.lower(), name.lower()
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name


def _serves(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return True
    return bool(
        {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*usage.value}
    )


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
