#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: decide what an upgrade is to do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_upgrade_info
short_description: Decide what an upgrade is to do
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Reads which images a deployed stack has and which upgrades were begun before, and decides whether an upgrade is to
    be started, finished or undone, or why that cannot be.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.stack
  - freegee.mlflow_sftp.cutover.choice
options:
  image:
    description:
      - The next image of the MLflow server, where an upgrade is neither resumed nor undone.
    type: str
    default: ""
  postgres_image:
    description:
      - The next image of the stack's PostgreSQL, where it has one.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Decide about an upgrade
  freegee.mlflow_sftp.mlflow_upgrade_info:
    directory: /opt/mlflow-stack
    image: freegee/mlflow-server:0123456789abcdef
  register: decision
"""

RETURN = r"""
action:
  description: V(none), V(start), V(finish) or V(rollback).
  returned: success
  type: str
  sample: start
message:
  description: The same as a sentence.
  returned: success
  type: str
record:
  description: The upgrade; empty where there is nothing to do.
  returned: success
  type: dict
closes:
  description: Whether MLflow is to be closed; of an upgrade that is to be started, its plan tells.
  returned: success
  type: bool
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.drivers import driver_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    CHOICE_OPTIONS,
    STACK_OPTIONS,
    end,
    require_nobody,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import ID_FORMAT
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.decisions import (
    Decision,
    Options,
    decide,
    require_same_on_swarm,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.images import (
    postgres_version,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.operations import Upgrade
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import Version


def target_of(stack: Stack, image: str, postgres_image: str) -> Version:
    """Return the version that images mean; a swarm keeps its PostgreSQL, of which it names the image by its id.

    Raises:
        RefusedError: The next PostgreSQL could not read what the swarm's has written.
    """
    deployed = stack.project.postgres_image
    if not stack.project.on_swarm:
        return Version(image=image, postgres_image=postgres_image)
    if deployed and docker.has_image(postgres_image):
        require_same_on_swarm(postgres_version(deployed), postgres_version(postgres_image))
    return Version(image=docker.image_id(image), postgres_image=deployed if postgres_image else "")


def closes(stack: Stack, decision: Decision) -> bool:
    """Return whether MLflow is to be closed; of an upgrade that is to be started, its plan tells."""
    record = decision.record
    return record is None or decision.action == "start" or not Upgrade(stack, record).rolls(record)


def look(module: AnsibleModule) -> dict:
    """Return the decision."""
    given = module.params
    stack = Stack(settings_of(given))
    options = Options(
        target=target_of(stack, given["image"], given["postgres_image"]),
        resume=given["resume"],
        undo=given["undo"],
        installed=driver_of(stack).digest(),
        check=module.check_mode,
        now=time.strftime(ID_FORMAT, time.gmtime()),
    )
    records = load_all(stack.settings.switches)
    require_nobody(stack.settings, records)
    deployed = Version(image=stack.project.image, postgres_image=stack.project.postgres_image)
    decision = decide(deployed, stack.store, records, options)
    return {
        "action": decision.action,
        "message": str(decision),
        "closes": closes(stack, decision),
        "record": decision.record.as_dict() if decision.record else {},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "image": {"type": "str", "default": ""},
            "postgres_image": {"type": "str", "default": ""},
            **CHOICE_OPTIONS,
        },
        supports_check_mode=True,
    )
    end(module, lambda: look(module))


if __name__ == "__main__":
    main()
