# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the variables of services that run away from their server, or on devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.key_file import KeyFile
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.truth import is_true

_DEVICE = {"capabilities", "driver", "count", "device_ids", "options"}


def client_problems(values: Mapping[str, Any], ca_file: KeyFile | None) -> Iterator[str]:
    """Return a sentence for each value that services cannot use.

    Args:
        values: The variables, each of its own type.
        ca_file: What mlflow_stack_server_ca_file names, if it names anything.
    """
    yield from _devices(values.get("mlflow_stack_devices") or [])
    yield from _extra_hosts(values.get("mlflow_stack_extra_hosts") or {})
    if values.get("mlflow_stack_server_url"):
        yield from _beside_server(values)
        yield from _server(str(values["mlflow_stack_server_url"]))
    if ca_file is not None and ca_file.problem:
        yield f"mlflow_stack_server_ca_file is {ca_file.path}, and {ca_file.problem}."


def _devices(devices: Sequence[Any]) -> Iterator[str]:
    for number, device in enumerate(devices, start=1):
        where = f"mlflow_stack_devices: entry {number}"
        if not isinstance(device, Mapping):
            yield f"{where} is no mapping; expected capabilities, and driver with count or device_ids."
            continue
        if strange := sorted(map(str, set(device) - _DEVICE)):
            yield f"{where} has {', '.join(strange)}; expected some of {', '.join(sorted(_DEVICE))}."
        capabilities = device.get("capabilities")
        if not isinstance(capabilities, Sequence) or isinstance(capabilities, str) or not capabilities:
            yield f"{where} has no list of capabilities, which Docker needs; expected [gpu], for instance."
        if "count" in device and "device_ids" in device:
            yield f"{where} has both count and device_ids; Docker takes one of them."


def _extra_hosts(hosts: Mapping[str, Any]) -> Iterator[str]:
    for name, address in hosts.items():
        try:
            ip_address(str(address))
        except ValueError:
            yield f"mlflow_stack_extra_hosts has '{address}' for {name}; expected an IP address."


def _beside_server(values: Mapping[str, Any]) -> Iterator[str]:
    """What the command line says for all hosts at once, client hosts cannot be told."""
    contradictions = {
        "mlflow_stack_services names mlflow": "mlflow" in values["mlflow_stack_services"],
        "mlflow_stack_monitor is on": is_true(values.get("mlflow_stack_monitor")),
        "mlflow_stack_dask is on": is_true(values.get("mlflow_stack_dask")),
        "mlflow_gateway_hostname is set": bool(values.get("mlflow_gateway_hostname")),
    }
    for text in (text for text, wrong in contradictions.items() if wrong):
        yield (
            f"{text} on a host that uses the server of another one. Say it in the inventory of the server's host "
            "instead of on the command line."
        )


def _server(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        right = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and not parts.path
    except ValueError:
        right = False
    if not right:
        yield f"mlflow_stack_server_url is '{url}'; expected the server's front door, https://name or https://name:port."
