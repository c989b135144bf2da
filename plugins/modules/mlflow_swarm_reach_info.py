#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: whether hosts reach one another on the ports of a swarm."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_swarm_reach_info
short_description: Tell whether hosts reach one another on the ports of a swarm
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Runs on all hosts at the same time, with C(async) and C(poll=0). Each listens on its own ports and asks those of the
    others until everybody has been reached and heard, O(seconds) at most.
  - Tried with listeners of its own, since before there is a swarm nothing else would answer, and a firewall that
    rejects looks like a port that is closed. Questions without O(token) get no answer.
  - The answers hold the time, so that clocks are compared as well.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  name:
    description:
      - The host's name in O(peers) of the others.
    type: str
    required: true
  address:
    description:
      - Address of the host to listen on.
    type: str
    required: true
  listen:
    description:
      - Ports to listen on, such as V(tcp/2377). None for a node of a swarm, whose engine has them.
    type: list
    elements: str
    default: []
  peers:
    description:
      - The other hosts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name.
        type: str
        required: true
      address:
        description:
          - Address to ask.
        type: str
        required: true
      ports:
        description:
          - Ports to ask.
        type: list
        elements: str
        required: true
      listens:
        description:
          - Whether the module runs there and listens. Otherwise only connections can be tried.
        type: bool
        default: true
  token:
    description:
      - What the hosts of one run know one another by; without spaces.
    type: str
    required: true
  seconds:
    description:
      - For how long is tried what is not reached.
    type: float
    default: 20
"""

EXAMPLES = r"""
- name: Try the ports of a swarm
  freegee.mlflow_sftp.mlflow_swarm_reach_info:
    name: one
    address: 192.0.2.1
    listen: [tcp/2377, tcp/7946, udp/7946, udp/4789]
    peers:
      - {name: two, address: 192.0.2.2, ports: [tcp/7946, udp/7946, udp/4789]}
    token: "{{ token_of_the_run }}"
  async: 60
  poll: 0
"""

RETURN = r"""
held:
  description: Those of O(listen) that something else has.
  returned: success
  type: list
  elements: str
peers:
  description:
    - By name, C(ports), which are C(reached), C(refused) or C(silent), and C(clock), the seconds that the other host is
      ahead, null where it did not say.
  returned: success
  type: dict
  sample: {two: {ports: {tcp/7946: reached, udp/7946: reached, udp/4789: silent}, clock: 0.002}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.reach import Peer, Port, meet


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "listen": {"type": "list", "elements": "str", "default": []},
            "peers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                    "ports": {"type": "list", "elements": "str", "required": True},
                    "listens": {"type": "bool", "default": True},
                },
            },
            "token": {"type": "str", "required": True, "no_log": True},
            "seconds": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    options = module.params
    peers = [
        Peer(each["name"], each["address"], tuple(map(Port.parse, each["ports"])), each["listens"])
        for each in options["peers"]
    ]
    listen = [Port.parse(each) for each in options["listen"]]
    module.exit_json(
        **meet(options["name"], options["address"], listen, peers, options["token"], options["seconds"])
    )


if __name__ == "__main__":
    main()
