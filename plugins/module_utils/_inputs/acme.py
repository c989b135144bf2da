# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the values by which a gateway gets its certificate of an ACME server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import (
    gateway_bind,
    is_reached,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.key_file import KeyFile
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.truth import is_true

# Where a server asks for the answer to its challenge, whatever port the gateway has.
_CHALLENGE_PORT = 80
_PUBLIC = ".letsencrypt.org"
# RFC 2606, 6761, 6762, 7686 and 8375, and ICANN's own: nobody has such a name for the whole world.
_NOT_PUBLIC = re.compile(
    r"(.*\.)?(alt|arpa|example|internal|invalid|local|localhost|onion|test)", re.IGNORECASE
)
_EMAIL = re.compile(r"[^@\s,]+@[^@\s,]+\.[^@\s,]+")


def acme_problems(values: Mapping[str, Any], names: Sequence[str], ca_file: KeyFile | None) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with a gateway's order.

    Args:
        values: The variables by name, defaults among them.
        names: The gateway's host names.
        ca_file: What mlflow_gateway_acme_ca_file names, if it names anything.
    """
    directory = str(values.get("mlflow_gateway_acme_directory") or "")
    if not is_true(values.get("mlflow_gateway_acme_terms_agreed", False)):
        yield (
            "mlflow_gateway_tls is acme, and mlflow_gateway_acme_terms_agreed is not true: read the terms of the "
            f"authority at {directory or 'mlflow_gateway_acme_directory'}, and agree to them with it."
        )
    if int(values.get("mlflow_gateway_http_port", _CHALLENGE_PORT)) == 0:
        yield (
            "mlflow_gateway_http_port is 0, and mlflow_gateway_tls is acme: the authority asks the gateway by HTTP at "
            f"port {_CHALLENGE_PORT}; expected {_CHALLENGE_PORT}, or a port to which that is forwarded."
        )
    host = _host(directory)
    if not host:
        yield (
            f"mlflow_gateway_acme_directory is '{directory}'; expected the https:// address of the directory of an "
            "ACME server."
        )
    email = str(values.get("mlflow_gateway_acme_email") or "")
    if email and not _EMAIL.fullmatch(email):
        yield f"mlflow_gateway_acme_email is '{email}'; expected one address, or nothing."
    if f".{host}".endswith(_PUBLIC):
        yield from _name_problems(names)
    yield from _ca_problems(ca_file)


def acme_warnings(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each value with which an order succeeds only where something else helps."""
    if not values.get("mlflow_gateway_hostname") or values.get("mlflow_gateway_tls") != "acme":
        return
    port = int(values.get("mlflow_gateway_http_port", _CHALLENGE_PORT))
    if port not in (0, _CHALLENGE_PORT):
        yield (
            f"mlflow_gateway_http_port is {port}, and an ACME server asks at port {_CHALLENGE_PORT}: something has to "
            f"forward {_CHALLENGE_PORT} to {port}."
        )
    bind = gateway_bind(values)
    if not is_reached(bind):
        yield f"mlflow_gateway_bind is {bind}: an ACME server elsewhere does not reach the gateway there."


def _host(directory: str) -> str:
    """Return whom an address names; empty where it is none that an ACME server can have."""
    try:
        parts = urlsplit(directory)
        return (parts.hostname or "") if parts.scheme == "https" and parts.port != 0 else ""
    except ValueError:
        return ""


def _name_problems(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if "." not in name or _NOT_PUBLIC.fullmatch(name):
            yield (
                f"No public authority issues a certificate for '{name}': expected a name that the whole world's DNS "
                "knows. Name an ACME server of your own (mlflow_gateway_acme_directory), or set mlflow_gateway_tls to "
                "self."
            )


def _ca_problems(file: KeyFile | None) -> Iterator[str]:
    if file is None:
        return
    if file.problem:
        yield f"mlflow_gateway_acme_ca_file is {file.path}, and {file.problem}."
    elif "-----BEGIN CERTIFICATE-----" not in file.text:
        yield (
            f"mlflow_gateway_acme_ca_file is {file.path}, which holds no certificate in PEM format "
            "(-----BEGIN CERTIFICATE-----)."
        )
