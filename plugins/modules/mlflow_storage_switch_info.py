#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: decide what a storage switch is to do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_storage_switch_info
short_description: Decide what a storage switch is to do
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Reads what store a deployed stack uses and which switches were begun before, and decides whether a switch is to be
    started, finished or undone, or why that cannot be.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.stack
  - freegee.mlflow_sftp.cutover.choice
options:
  storage:
    description:
      - Where artifacts are to be.
    type: str
    choices: [local, sftp]
    required: true
  access:
    description:
      - How clients are to reach them.
    type: str
    choices: [direct, proxied]
    default: direct
  sftp_uri:
    description:
      - The SFTP store that the variables name.
    type: str
    required: true
  migrate:
    description:
      - With V(all), artifacts move. With V(none), only new runs go to the new store.
    type: str
    choices: [all, none]
    default: all
  experiments:
    description:
      - Ids of the experiments to move, if not all.
    type: list
    elements: int
    default: []
  verify_runs:
    description:
      - How many old runs are to be read back, or V(all).
    type: str
    default: "10"
"""

EXAMPLES = r"""
- name: Decide about a switch to SFTP
  freegee.mlflow_sftp.mlflow_storage_switch_info:
    directory: /opt/mlflow-stack
    storage: sftp
    sftp_uri: sftp://me@sftp.example.org:2121/artifacts
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
  description: The switch; empty where there is nothing to do.
  returned: success
  type: dict
store:
  description: The deployed store.
  returned: success
  type: dict
  contains: &store
    storage:
      description: V(local) or V(sftp).
      type: str
    access:
      description: V(direct) or V(proxied).
      type: str
    uri:
      description: Where artifacts are.
      type: str
    root:
      description: What experiments record.
      type: str
goal:
  description: The store that the record of an earlier switch names; empty where the options decide.
  returned: success
  type: dict
  contains: *store
groups:
  description: What the plays to come have to provide, V(move), V(to_sftp), V(second_account) or V(undo).
  returned: success
  type: list
  elements: str
image:
  description: The deployed server's image.
  returned: success
  type: str
postgres_image:
  description: The deployed image of the stack's PostgreSQL; empty without.
  returned: success
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    CHOICE_OPTIONS,
    STACK_OPTIONS,
    end,
    require_nobody,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Stack,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.decisions import (
    Options,
    decide,
)


def look(module: AnsibleModule) -> dict:
    """Return the decision."""
    given = module.params
    settings = settings_of(given, "verify_runs")
    stack = Stack(settings)
    options = Options(
        storage=given["storage"],
        access=given["access"],
        uris={"local": given["local_root"], "sftp": given["sftp_uri"]},
        migrate=given["migrate"],
        experiments=tuple(given["experiments"]),
        resume=given["resume"],
        undo=given["undo"],
        check=module.check_mode,
        now=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
        on_swarm=stack.project.on_swarm,
    )
    records = load_all(settings.switches)
    require_nobody(settings, records)
    decision = decide(stack.store, records, options)
    return {
        "action": decision.action,
        "message": str(decision),
        "record": decision.record.as_dict() if decision.record else {},
        "store": decision.store.as_dict(),
        "goal": decision.goal.as_dict() if decision.goal else {},
        "groups": decision.groups,
        "image": stack.project.image,
        "postgres_image": stack.project.postgres_image,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "storage": {"type": "str", "choices": ["local", "sftp"], "required": True},
            "access": {"type": "str", "choices": ["direct", "proxied"], "default": "direct"},
            "sftp_uri": {"type": "str", "required": True},
            "migrate": {"type": "str", "choices": ["all", "none"], "default": "all"},
            "experiments": {"type": "list", "elements": "int", "default": []},
            **CHOICE_OPTIONS,
            "verify_runs": {"type": "str", "default": "10"},
        },
        supports_check_mode=True,
    )
    end(module, lambda: look(module))


if __name__ == "__main__":
    main()
