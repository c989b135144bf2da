#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: what a host says of its engine, its network and the swarm that it is in."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_swarm_info
short_description: Tell what a host says of its engine, its network and the swarm that it is in
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Asks the engine and, where it manages a swarm, for the nodes and the services. The swarm's secrets and tokens are
    not asked for.
  - P(freegee.mlflow_sftp.mlflow_swarm_decision#filter) compares the answers of all hosts with the inventory.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  address:
    description:
      - The address that the host is to advertise. Without one, that of the default route is taken.
    type: str
    default: ""
  ports:
    description:
      - TCP ports of which RV(taken) tells whether something has them, at whichever address.
    type: list
    elements: int
    default: []
requirements:
  - C(ip) of iproute2
"""

EXAMPLES = r"""
- name: Ask the engine for the swarm that it is in
  freegee.mlflow_sftp.mlflow_swarm_info:
  register: host

- name: Show the nodes that the managers know
  ansible.builtin.debug:
    msg: "{{ host.nodes }}"
"""

RETURN = r"""
engine:
  description: Whether Docker is C(absent), C(silent) or C(answers).
  returned: success
  type: str
said:
  description: What was said instead of an answer.
  returned: success
  type: str
engine_id:
  description: Id of the engine; empty where none answers.
  returned: success
  type: str
version:
  description: Version of the engine; empty where none answers.
  returned: success
  type: str
  sample: 26.1.5
architecture:
  description: Architecture of the engine; empty where none answers.
  returned: success
  type: str
  sample: x86_64
python:
  description: The interpreter of the modules.
  returned: success
  type: str
sdk:
  description: Whether that interpreter has the Docker SDK.
  returned: success
  type: bool
address:
  description: The address to advertise; empty where there is none to choose.
  returned: success
  type: str
endpoint:
  description: RV(address) with the port at which managers are asked; empty as RV(address).
  returned: success
  type: str
  sample: 192.0.2.1:2377
addresses:
  description: All addresses of the host that others may reach.
  returned: success
  type: list
  elements: str
mtu:
  description: MTU of the interface that has RV(address); null where there is none.
  returned: success
  type: int
swarm:
  description: The swarm that the engine is in.
  returned: success
  type: dict
  contains:
    state:
      description: V(inactive), V(pending), V(active), V(error) or V(locked).
      type: str
    node:
      description: Id of the host's node; empty where it is none.
      type: str
    address:
      description: The address that the node advertises.
      type: str
    manager:
      description: Whether the node is a manager.
      type: bool
    managers:
      description: Addresses of the managers that the node knows.
      type: list
      elements: str
    error:
      description: What the engine complains of.
      type: str
    cluster:
      description: Id of the swarm; empty where the node is no manager, or there is no quorum.
      type: str
    labels:
      description: Labels of the swarm itself.
      type: dict
nodes:
  description:
    - The swarm's nodes, with C(id), C(hostname), C(role), C(availability), C(state), C(manager_address) and C(labels).
    - Null where the node is no manager, or there is no quorum.
  returned: success
  type: list
  elements: dict
services:
  description: Names of the swarm's services; null as RV(nodes).
  returned: success
  type: list
  elements: str
owners:
  description: The directory of the stack that each service was made for, empty for none; by name. Null as RV(nodes).
  returned: success
  type: dict
  sample: {mlflow_gateway: /opt/mlflow-stack}
taken:
  description: Those of O(ports) that something has, with what is known of it.
  returned: success
  type: dict
  sample: {"443": nginx (4711)}
published:
  description: Those of RV(taken) that a container of a swarm's service has, with the service's name.
  returned: success
  type: dict
  sample: {"443": mlflow_gateway}
"""

import importlib.util
import json
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.asking import ask, engine_info
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ports import holder, is_taken
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.asking import nodes
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import (
    MANAGEMENT,
    addresses_of,
    endpoint,
    interface_of,
    owners_of,
    swarm_of,
)

# Seconds; an engine without quorum takes up to 20 for each question.
_PATIENCE = 90
# Label of a service's containers, which a swarm gives them.
_SERVICE = "com.docker.swarm.service.name"
_ALL = "0.0.0.0"  # noqa: S104  # To be asked about.
# Of documentation, so that no host is meant; connecting a datagram socket sends nothing.
_AFAR = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))


def engine(module: AnsibleModule) -> tuple[str, str, dict[str, Any]]:
    """Say whether there is an engine, what was said instead, and what it tells of itself."""
    if not module.get_bin_path("docker"):
        return "absent", "no docker in PATH", {}
    code, info, said = engine_info(module.run_command, _PATIENCE)
    if info.get("ServerVersion") and not info.get("ServerErrors"):
        return "answers", "", info
    reasons = [*(info.get("ServerErrors") or []), said, f"docker info ended with {code}"]
    return "silent", next(filter(None, reasons)), {}


def own_address() -> str:
    """Return the address that the default route takes; empty where there is none."""
    for place, family in _AFAR:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((place, 9))
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return ""


def network(module: AnsibleModule, wished: str) -> dict[str, Any]:
    """Return the address to advertise, all addresses, and the MTU."""
    command = [module.get_bin_path("ip", required=True), "-json", "address"]
    _, output, _ = module.run_command(command, check_rc=True)
    interfaces = json.loads(output)
    address = wished or own_address()
    interface = interface_of(address, interfaces) if address else None
    return {
        "address": address if interface else "",
        "endpoint": endpoint(address, MANAGEMENT) if interface else "",
        "addresses": addresses_of(interfaces),
        "mtu": interface["mtu"] if interface else None,
    }


def owners(module: AnsibleModule) -> dict[str, str]:
    """Return whose each service of the swarm is."""
    ids = ask(module, _PATIENCE, "service", "ls", "--quiet").split()
    return owners_of(json.loads(ask(module, _PATIENCE, "service", "inspect", *ids))) if ids else {}


def taken(ports: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Yield each port that something has, at whichever address, with its holder."""
    for port in ports:
        held = holder(port)
        if held or is_taken(_ALL, port):
            yield port, held


def published(module: AnsibleModule, ports: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Yield each port that a container of a swarm's service has on this host, with the service's name."""
    shown = f'--format={{{{.Label "{_SERVICE}"}}}}'
    for port in ports:
        found = ask(module, _PATIENCE, "ps", f"--filter=publish={port}", f"--filter=label={_SERVICE}", shown)
        for service in found.split()[:1]:
            yield port, service


def run(module: AnsibleModule) -> dict[str, Any]:
    """Look at the host."""
    state, said, info = engine(module)
    swarm = swarm_of(info)
    manages = swarm.manager and swarm.cluster
    found = owners(module) if manages else None
    held = dict(taken(module.params["ports"]))
    return {
        "engine": state,
        "said": said,
        "engine_id": info.get("ID") or "",
        "version": info.get("ServerVersion") or "",
        "architecture": info.get("Architecture") or "",
        "python": sys.executable,
        "sdk": importlib.util.find_spec("docker") is not None,
        **network(module, module.params["address"]),
        "swarm": {**asdict(swarm), "managers": list(swarm.managers)},
        "nodes": [asdict(each) for each in nodes(module, _PATIENCE)] if manages else None,
        "services": None if found is None else sorted(found),
        "owners": found,
        "taken": held,
        "published": dict(published(module, held)) if state == "answers" else {},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": ""},
            "ports": {"type": "list", "elements": "int", "default": []},
        },
        supports_check_mode=True,
    )
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
