#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: give services of a swarm the secrets that the files of the stack's home hold."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_swarm_secrets
short_description: Give services of a swarm the secrets that the files of the stack's home hold
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - A swarm changes no secret. Of each file that holds something else than the secret that a service sees, another
    secret is made, with the digest of its content in its name, and the service sees that one at the same place. Its
    containers are replaced as the service says, one after the other; this module waits until those before have ended.
  - Nothing else of a service is changed, whatever the inventory says by now.
  - Runs on the stack's home, a manager of the swarm.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - The files hold secrets.
  idempotent:
    support: full
options:
  state:
    description:
      - With V(planned), only look, and refuse what a replacement would fail at - nodes that are down or cannot be
        asked, a change that is going on, containers that do not run.
      - With V(given), replace the secrets.
      - With V(pruned), remove those that no service of the stack sees any more.
    type: str
    choices: [planned, given, pruned]
    required: true
  services:
    description:
      - The services, by what follows the project in their names.
    type: list
    elements: str
    default: [mlflow]
  nodes:
    description:
      - Ids of the nodes that the play can ask, for V(planned).
    type: list
    elements: str
    default: []
  wait_timeout:
    description:
      - Seconds that one container may take to begin.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Give the servers the key that lies in the stack's directory
  freegee.mlflow_sftp.mlflow_swarm_secrets:
    directory: /opt/mlflow-stack
    state: given
"""

RETURN = r"""
replaced:
  description: Names of secrets that services do not see any more, or in check mode would not; with V(pruned), removed.
  returned: success
  type: list
  elements: str
servers:
  description: Containers of the services, with the id of the node that each runs on.
  returned: success
  type: list
  elements: dict
  sample:
    - node: 8ln6nrwbdcbn1wpbxbzbsm3zz
      container: 4d5c...
message:
  description: What was done, or in check mode would be, for people.
  returned: success
  type: str
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
    require_none_interrupted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.on_swarm import ServedSecrets


def result(served: ServedSecrets, services: list[str], replaced: list[str], verb: str) -> dict[str, Any]:
    """Return what the module tells."""
    servers = [asdict(server) for name in services for server in served.servers(name)]
    said = f"{verb} {', '.join(sorted(replaced))}." if replaced else "Nothing to replace or to remove."
    return {"changed": bool(replaced), "replaced": sorted(replaced), "servers": servers, "message": said}


def run(module: AnsibleModule) -> dict[str, Any]:
    """Look, replace or remove."""
    options = module.params
    stack = Stack(settings_of(options, "wait_timeout"))
    served, services, state = ServedSecrets(stack), options["services"], options["state"]
    require_none_interrupted(load_all(stack.settings.switches))
    if state == "planned":
        served.require_quiet(services, options["nodes"])
        served.require_unshared(services)
    if state == "planned" or module.check_mode:
        due = [each.old for name in services for each in served.due(name)] if state != "pruned" else []
        return {**result(served, services, due, "Would replace"), "changed": state != "planned" and bool(due)}
    stack.settings.switches.mkdir(mode=0o700, exist_ok=True)
    with locked(stack.settings.switches):
        require_none_interrupted(load_all(stack.settings.switches))
        if state == "pruned":
            return result(served, services, served.prune(), "Removed")
        due = [each.old for name in services for each in served.due(name)]
        for name in services:
            served.give(name)
    return result(served, services, due, "Replaced")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "state": {"type": "str", "choices": ["planned", "given", "pruned"], "required": True},
            "services": {"type": "list", "elements": "str", "default": ["mlflow"]},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "wait_timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
