#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: which services of a stack are not well, and why."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_service_info
short_description: Tell which services of a stack are not well, and why
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Looks at the containers of a Compose project as the engine shows them, at what their health checks said last and at
    the end of their logs, and names a cause for each that does not run or is not healthy.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  project:
    description:
      - Compose project of the stack.
    type: str
    required: true
  lines:
    description:
      - Lines of a service's log to show.
    type: int
    default: 15
"""

EXAMPLES = r"""
- name: Look at the services
  freegee.mlflow_sftp.mlflow_service_info:
    project: mlflow
  register: services

- name: Require that all are well
  ansible.builtin.assert:
    that: services.problems == ''
    fail_msg: "{{ services.problems }}"
"""

RETURN = r"""
services:
  description: The containers of the project that Compose keeps running.
  returned: success
  type: list
  elements: dict
  contains:
    service:
      description: Name of the service.
      type: str
    container:
      description: Name of its container.
      type: str
    state:
      description: What the engine says of it.
      type: str
    cause:
      description: Code of why it is not well, see C(docs/troubleshooting.md); empty where it is.
      type: str
      sample: service_unhealthy
problems:
  description:
    - For people, what is wrong, what to do, and the end of the log; empty where all are well. Tokens and passwords are
      hidden.
  returned: success
  type: str
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.health import (
    Service,
    describe,
    diagnose,
    service_of,
)


def look(module: AnsibleModule) -> list[Service]:
    """Return the project's containers, those of ``docker compose run`` aside."""
    labels = (f"com.docker.compose.project={module.params['project']}", "com.docker.compose.oneoff=False")
    filters = [f"--filter=label={label}" for label in labels]
    command = ["docker", "container", "ls", "--all", "--quiet", *filters]
    _, output, _ = module.run_command(command, check_rc=True)
    containers = output.split()
    if not containers:
        return []
    # One that is gone meanwhile is complained about, the others are shown.
    _, output, _ = module.run_command(["docker", "container", "inspect", *containers])
    return [service_of(shown, log(module, shown["Id"])) for shown in json.loads(output or "[]")]


def log(module: AnsibleModule, container: str) -> str:
    """Return the end of a container's log, both channels as they came."""
    command = ["sh", "-c", 'exec docker container logs --tail "$1" "$2" 2>&1', "sh"]
    _, output, _ = module.run_command([*command, str(module.params["lines"]), container], errors="replace")
    return str(output)


def as_result(service: Service) -> dict[str, Any]:
    """Return one entry of the result."""
    error = diagnose(service)
    return {
        "service": service.name,
        "container": service.container,
        "state": service.state,
        "cause": error.cause.code if error else "",
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "lines": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    services = look(module)
    problems = describe(services, module.params["lines"])
    module.exit_json(services=[as_result(service) for service in services], problems=problems)


if __name__ == "__main__":
    main()
