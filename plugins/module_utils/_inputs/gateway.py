# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the values that describe a gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.acme import acme_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import (
    bind_problem,
    gateway_bind,
    is_reached,
    stack_bind,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.key_file import KeyFile
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.server_certificate import (
    certificate_problems,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.truth import is_true
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.haproxy import release_problem

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)
_PATH = re.compile(r"/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
# What MLflow itself serves there.
_MLFLOW = re.compile(
    "ajax-api|api|gateway|get-artifact|graphql|health|login|logout|metrics|mlflow|model-versions|oidc|signup|"
    "static-files|telemetry|v1|version|ws"
)
# By mlflow_gateway_tls, what is kept on the controller.
_KEPT = {
    "self": "the certificate authority and its key",
    "acme": "the account's key, and the certificate with its own",
}
_LENGTHS = {
    "mlflow_gateway_hsts_seconds": 0,
    "mlflow_gateway_retry_after": 1,
    "mlflow_gateway_timeout": 1,
    "mlflow_gateway_max_connections": 1,
}


def hostname_problem(name: str) -> str:
    """Return what was expected of a host name; empty where nothing is wrong."""
    if "://" in name:
        return "expected a name alone, without a scheme."
    host, colon, port = name.rpartition(":")
    if colon and port.isdecimal() and ":" not in host:
        return "expected a name alone; mlflow_gateway_https_port has the port."
    try:
        ip_address(name)
    except ValueError:
        labels = name.split(".")
        fits = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
        return "" if fits else "expected a host name: letters, digits and hyphens, with dots between."
    return "expected a name, which certificates are for, not an address."


def gateway_problems(
    values: Mapping[str, Any],
    certificate: KeyFile | None,
    key: KeyFile | None,
    acme_ca: KeyFile | None = None,
) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with a gateway; nothing where none is asked for.

    Args:
        values: The variables by name, defaults among them.
        certificate: What mlflow_gateway_certificate_file names, a `KeyFile`; None where it names nothing.
        key: What mlflow_gateway_key_file names, likewise.
        acme_ca: What mlflow_gateway_acme_ca_file names, likewise.
    """
    hostname = str(values.get("mlflow_gateway_hostname") or "")
    if not hostname:
        return
    problem = hostname_problem(hostname)
    if problem:
        yield f"mlflow_gateway_hostname is '{hostname}'; {problem}"
    notebook = str(values.get("mlflow_gateway_notebook") or "")
    if said := _notebook_problem(notebook, hostname):
        yield f"mlflow_gateway_notebook is '{notebook}'; {said}"
    dashboard = _dashboard(values)
    served = notebook if "notebook" in values.get("mlflow_stack_services", ["notebook"]) else ""
    if said := _dashboard_problem(dashboard, hostname, served):
        yield f"mlflow_gateway_dask is '{dashboard}'; {said}"
    yield from _address_problems(values)
    yield from _release_problem(values)
    for name, least in _LENGTHS.items():
        if name in values and int(values[name]) < least:
            yield f"{name} is {values[name]}; expected a number of {least} or more."
    names = [hostname, *(name for name in (notebook, dashboard) if name and not name.startswith("/"))]
    tls = str(values.get("mlflow_gateway_tls"))
    if tls not in _KEPT:
        yield from _file_problems(names if not problem else [], certificate, key)
        return
    if not values.get("mlflow_gateway_authority_dir"):
        yield (
            f"mlflow_gateway_tls is {tls}, and mlflow_gateway_authority_dir is empty: name a directory of the "
            f"controller for {_KEPT[tls]}."
        )
    if tls == "acme":
        yield from acme_problems(values, names if not problem else [], acme_ca)


def _notebook_problem(notebook: str, hostname: str) -> str:
    if not notebook:
        return ""
    if not notebook.startswith("/"):
        if notebook.lower() == hostname.lower():
            return "that is MLflow's own name; expected a path such as /notebook, or another name."
        return hostname_problem(notebook)
    return _path_problem(notebook, "/notebook")


def _path_problem(path: str, example: str) -> str:
    if not _PATH.fullmatch(path) or ".." in path.split("/"):
        return f"expected a path such as {example}, of letters, digits, dots, hyphens and underscores."
    first = path.split("/")[1]
    if _MLFLOW.fullmatch(first):
        return f"MLflow itself serves /{first}; expected another path, such as {example}."
    return ""


def _dashboard(values: Mapping[str, Any]) -> str | None:
    """Return where dask's dashboard is to be; None where it is not asked for."""
    asked = is_true(values.get("mlflow_stack_dask_dashboard", False))
    return str(values.get("mlflow_gateway_dask") or "") if asked else None


def _dashboard_problem(dashboard: str | None, hostname: str, notebook: str) -> str:
    if dashboard is None:
        return ""
    if not dashboard:
        return "expected a path such as /dask, or a name of its own."
    if not dashboard.startswith("/"):
        if dashboard.lower() in (hostname.lower(), notebook.lower()):
            return "that name is taken; expected a path such as /dask, or another name."
        return hostname_problem(dashboard)
    if notebook.startswith("/") and f"{dashboard}/".startswith(f"{notebook}/"):
        return f"JupyterLab is at {notebook} (mlflow_gateway_notebook); expected another path, such as /dask."
    return _path_problem(dashboard, "/dask")


def _address_problems(values: Mapping[str, Any]) -> Iterator[str]:
    bind = gateway_bind(values)
    if problem := bind_problem(bind):
        yield f"mlflow_gateway_bind is '{bind}'; {problem}"
    stack = stack_bind(values)
    if is_reached(stack):
        yield (
            f"mlflow_stack_bind is '{stack}'; with a gateway, MLflow's own port is for the Docker host alone, "
            "expected 127.0.0.1 or ::1. Others come through mlflow_gateway_bind."
        )


def _release_problem(values: Mapping[str, Any]) -> Iterator[str]:
    """Of an image that is named, its container is asked."""
    suite = str(values.get("base_image_suite", ""))
    if not values.get("mlflow_gateway_image") and (problem := release_problem(suite)):
        yield (
            f"base_image_suite is {suite}: {problem}. Leave it at trixie, or name an image of the gateway "
            "(mlflow_gateway_image)."
        )


def _file_problems(names: Sequence[str], certificate: KeyFile | None, key: KeyFile | None) -> Iterator[str]:
    yield from _unusable("mlflow_gateway_certificate_file", certificate)
    yield from _unusable("mlflow_gateway_key_file", key)
    if key is not None and not key.problem and key.mode & 0o077:
        yield (
            f"{key.path} has mode {key.mode:04o}: others can read the private key. Run `chmod 600 {key.path}`, and "
            "have a new certificate made for a new key if others may have read it."
        )
    if certificate is None or key is None or certificate.problem or key.problem:
        return
    subjects = {"certificate": f"The certificate in {certificate.path}", "key": f"The key in {key.path}"}
    for subject, problem in certificate_problems(certificate.text, key.text, names):
        yield f"{subjects[subject]} {problem}."


def _unusable(variable: str, file: KeyFile | None) -> Iterator[str]:
    if file is None:
        yield (
            f"mlflow_gateway_tls is own, and {variable} is empty: name the file on the controller, or set "
            "mlflow_gateway_tls to acme for a public authority's certificate, or to self for an authority of the "
            "stack's own."
        )
    elif file.problem:
        yield f"{variable} is {file.path}, and {file.problem}."
