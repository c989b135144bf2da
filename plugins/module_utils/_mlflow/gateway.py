# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway shows and answers, asked as a client would, and what that means."""

from __future__ import annotations

import http.client
import math
import ssl
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.stage import caused

_QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"
_TIMEOUT = 10.0
_DAY = 86400
# Of a certificate's life, before which nothing is warned about. An ACME server's certificate is renewed before that.
_LAST = 1 / 4
# Without and with a login.
_OPEN = (200, 401)
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # To be compared with.


@dataclass(frozen=True)
class Seen:
    """What a gateway showed.

    Attributes:
        seconds: How long it took.
        status: HTTP status of a question to MLflow; 0 for none.
        protocol: Of TLS, such as ``TLSv1.3``.
        days: Days until its certificate expires; None where that is not known.
        life: Days for which it is valid in all; None where that is not known.
        refused: Why its certificate was not taken; empty where it was.
        error: Why nothing came; empty where something did.
    """

    seconds: float
    status: int = 0
    protocol: str = ""
    days: float | None = None
    life: float | None = None
    refused: str = ""
    error: str = ""


def ask(hostname: str, address: str, port: int, certificate: str) -> Seen:
    """Ask MLflow a question through a gateway.

    Args:
        hostname: The name that the client expects.
        address: Where the gateway's port is published, an address of this host.
        port: Of HTTPS.
        certificate: What it has to show, in PEM format: that alone is trusted, as long as name and dates hold.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # So that it need not be an authority's.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=_first(certificate))
    began = time.monotonic()
    connection = _Connection(_EVERYWHERE.get(address, address), port, hostname, context)
    host = hostname if port == http.client.HTTPS_PORT else f"{hostname}:{port}"
    try:
        connection.request("GET", _QUESTION, headers={"Host": host})
        shown: Any = connection.sock.getpeercert()
        protocol = str(connection.sock.version())
        begin, end = (ssl.cert_time_to_seconds(str(shown[name])) for name in ("notBefore", "notAfter"))
        days, life = (end - time.time()) / _DAY, (end - begin) / _DAY
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        return Seen(_since(began), refused=error.verify_message)
    except (OSError, http.client.HTTPException) as error:
        return Seen(_since(began), error=str(error) or type(error).__name__)
    finally:
        connection.close()
    return Seen(_since(began), status, protocol, days, life)


def stage_of(seen: Seen, hostname: str, endpoint: str, warn_days: int) -> dict[str, Any]:
    """Return a stage, as sftp_check's are, of what was seen.

    That is a warning below so many days until expiry, but not before the last quarter of the certificate's life.
    """
    bad = partial(caused, "gateway", seconds=seen.seconds, hostname=hostname)
    if seen.refused:
        return bad("gateway_certificate", f"{endpoint}: {seen.refused}")
    if seen.error:
        return bad("gateway_unreachable", f"{endpoint}: {seen.error}")
    days = f"certificate valid for {seen.days:.0f} days" if seen.days is not None else ""
    detail = ", ".join(filter(None, (f"answered {seen.status}", seen.protocol, days)))
    if seen.status not in _OPEN:
        return bad("gateway_closed", detail)
    life = seen.life if seen.life is not None else math.inf
    if seen.days is not None and seen.days < min(warn_days, life * _LAST):
        return bad("gateway_certificate_expiring", detail, status="warning")
    return {"name": "gateway", "status": "ok", "seconds": seen.seconds, "detail": detail, "cause": None}


class _Connection(http.client.HTTPConnection):
    """Goes to an address by TLS and expects a name."""

    sock: ssl.SSLSocket

    def __init__(self, address: str, port: int, hostname: str, context: ssl.SSLContext) -> None:
        super().__init__(address, port, timeout=_TIMEOUT)
        self._hostname, self._tls = hostname, context

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._hostname)


def _first(certificate: str) -> str:
    end = "-----END CERTIFICATE-----"
    return certificate[: certificate.index(end) + len(end)] + "\n" if end in certificate else certificate


def _since(began: float) -> float:
    return round(time.monotonic() - began, 4)
