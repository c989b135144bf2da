#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: wait until services of a swarm run as they are described."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_swarm_rollout
short_description: Wait until services of a swarm run as they are described
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - M(community.docker.docker_swarm_service) ends as soon as a swarm has taken a description. Whether tasks of it run,
    or the swarm has gone back to the description before, shows later.
  - Fails where an update was rolled back or is paused, and where the time is over, with what the tasks ended with.
  - On a paused node, a swarm leaves a task of a global service as it is. The module warns, and waits for no other.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  services:
    description:
      - Names of the services.
    type: list
    elements: str
    required: true
  changed:
    description:
      - Those that were changed just now. Of the others, a rollback that is over was an earlier one's.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds to wait.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Wait for the servers
  freegee.mlflow_sftp.mlflow_swarm_rollout:
    services: [mlflow_mlflow]
    changed: "{{ ['mlflow_mlflow'] if service is changed else [] }}"
"""

RETURN = r"""
services:
  description:
    - How far each service is, with C(service), C(current), C(desired), C(update), C(said), C(errors) and C(kept), the
      ids of paused nodes that run the service as it was described before.
  returned: success
  type: list
  elements: dict
  sample:
    - service: mlflow_mlflow
      current: 3
      desired: 3
      update: completed
      said: update completed
      errors: []
      kept: []
"""

import json
import time
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.asking import ask
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.asking import nodes
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.rollout import (
    Progress,
    is_moving,
    progress_of,
    verdict,
)

# Seconds; for an answer, and between two questions.
_PATIENCE = 60
_PAUSE = 1.0
_LINES = 15


def look(module: AnsibleModule, name: str) -> Progress:
    """Return how far a service is."""
    (service,) = json.loads(ask(module, _PATIENCE, "service", "inspect", name))
    ids = ask(module, _PATIENCE, "service", "ps", "--quiet", "--no-trunc", name).split()
    # One that is gone meanwhile is no error.
    output = module.run_command(["docker", "inspect", "--type=task", *ids])[1] if ids else ""
    is_global = "Global" in service["Spec"]["Mode"]
    return progress_of(
        service, json.loads(output or "[]"), [node.id for node in paused(module)] if is_global else []
    )


def paused(module: AnsibleModule) -> list[Node]:
    """Return the nodes that a swarm gives nothing new."""
    return [node for node in nodes(module, _PATIENCE) if node.availability == "pause"]


def wait_for(module: AnsibleModule, name: str, deadline: float) -> Progress:
    """Wait for one service; the module fails where it does not come to run as described."""
    touched = name in module.params["changed"]
    while True:
        progress = look(module, name)
        touched = touched or is_moving(progress)
        said = verdict(progress, touched)
        if said == "settled":
            tell_kept(module, progress)
            return progress
        if said == "failed":
            module.fail_json(f"The swarm did not keep what was asked for. {progress}. {log(module, name)}")
        if time.monotonic() > deadline:
            late = f"The service does not run as described after {module.params['timeout']} s"
            module.fail_json(f"{late}. {progress}. {log(module, name)}")
        time.sleep(_PAUSE)


def tell_kept(module: AnsibleModule, progress: Progress) -> None:
    """Warn of paused nodes that run the service as it was described before."""
    there = paused(module) if progress.kept else []
    kept = [f"{node.hostname} ({node.id})" for node in there if node.id in progress.kept]
    if kept:
        module.warn(
            f"{progress.service} goes on as it was described before on {', '.join(kept)}: a swarm changes nothing on a "
            "paused node. It makes up for it by itself once the node is active again (docker_swarm_availability, or "
            "`docker node update --availability active`)."
        )


def log(module: AnsibleModule, name: str) -> str:
    """Return the end of a service's log, as far as there is one."""
    command = ["timeout", "10", "docker", "service", "logs", f"--tail={_LINES}", name]
    output, said = module.run_command(command)[1:]
    lines = (output + said).strip().splitlines()[-_LINES:]
    return "\n".join(["The end of its log:", *lines]) if lines else "It has no log."


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "list", "elements": "str", "required": True},
            "changed": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    deadline = time.monotonic() + module.params["timeout"]
    found: list[dict[str, Any]] = []
    for name in module.params["services"]:
        progress = wait_for(module, name, deadline)
        found.append({**asdict(progress), "errors": list(progress.errors), "kept": list(progress.kept)})
    module.exit_json(services=found)


if __name__ == "__main__":
    main()
