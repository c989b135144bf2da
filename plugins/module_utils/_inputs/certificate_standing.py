# SPDX-License-Identifier: GPL-3.0-or-later
"""What an issued certificate of a server is still good for, and whether the next is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.server_certificate import (
    certificate_problems,
)
from cryptography import x509

# Of a certificate's life, in which it is renewed: of 90 days 30, of 6 days 2.
_LAST = 1 / 3


@dataclass(frozen=True)
class Standing:
    """How a certificate stands.

    Attributes:
        loads: Whether a server can start with it and its key.
        serves: Whether clients take it, now and for all names.
        due: Why the next has to be ordered, the end of a sentence about it; empty where it has not.
    """

    loads: bool
    serves: bool
    due: str


def certificate_standing(
    certificate: str, key: str, names: Sequence[str], now: datetime | None = None
) -> Standing:
    """Return how a certificate stands.

    Args:
        certificate: PEM, the server's own first; empty where there is none.
        key: PEM.
        names: Host names that it has to be for.
        now: When; by default the present time, with time zone.
    """
    if not certificate.strip():
        return Standing(loads=False, serves=False, due="is not there yet")
    problems = certificate_problems(certificate, key, names, now)
    try:
        own = x509.load_pem_x509_certificates(certificate.encode())[0]
    except ValueError:
        return Standing(loads=False, serves=False, due=_joined(problems))
    # A server takes one that has ended, or that is for other names.
    loads = not certificate_problems(certificate, key, (), own.not_valid_before_utc)
    if problems:
        return Standing(loads, serves=False, due=_joined(problems))
    if own.issuer == own.subject:
        return Standing(loads, serves=False, due="is its own, for the moment")
    moment = now or datetime.now(own.not_valid_after_utc.tzinfo)
    life = own.not_valid_after_utc - own.not_valid_before_utc
    late = own.not_valid_after_utc - moment < life * _LAST
    return Standing(
        loads, serves=True, due=f"expires at {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC" if late else ""
    )


def _joined(problems: Sequence[tuple[str, str]]) -> str:
    return ", and ".join(said if about == "certificate" else f"its key {said}" for about, said in problems)
