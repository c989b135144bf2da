#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: decide what a move of MLflow's database is to do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_database_move_info
short_description: Decide what a move of MLflow's database is to do
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Reads which database a deployed stack has and which moves were begun before, and decides whether a move is to be
    started, finished or undone, or why that cannot be.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.stack
  - freegee.mlflow_sftp.cutover.choice
options:
  database:
    description:
      - Scheme and place of the database to move to, as the filter P(freegee.mlflow_sftp.database_place#filter) returns
        them, where a move is neither resumed nor undone.
    type: str
    default: ""
  service:
    description:
      - Whether that is the stack's own PostgreSQL; by default if it is where that one would be.
    type: bool
  image:
    description:
      - The image of the MLflow server that this version of the collection makes, likewise. The deployed one must be it.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Decide about a move to the stack's own PostgreSQL
  freegee.mlflow_sftp.mlflow_database_move_info:
    directory: /opt/mlflow-stack
    database: "{{ 'postgresql' | freegee.mlflow_sftp.database_place }}"
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
  description: The move; empty where there is nothing to do.
  returned: success
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    CHOICE_OPTIONS,
    STACK_OPTIONS,
    end,
    require_nobody,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.decisions import (
    Deployed,
    Options,
    decide,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.look import database_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import Database
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import ID_FORMAT
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def look(module: AnsibleModule) -> dict:
    """Return the decision."""
    given = module.params
    stack = Stack(settings_of(given))
    options = Options(
        database=Database(given["database"], given["service"]) if given["database"] else None,
        image=given["image"],
        resume=given["resume"],
        undo=given["undo"],
        installed=files.digest(stack.settings.directory),
        check=module.check_mode,
        now=time.strftime(ID_FORMAT, time.gmtime()),
    )
    records = load_all(stack.settings.switches)
    require_nobody(stack.settings, records)
    deployed = Deployed(database_of(stack), stack.store, stack.project.image)
    decision = decide(deployed, records, options)
    return {
        "action": decision.action,
        "message": str(decision),
        "record": decision.record.as_dict() if decision.record else {},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "database": {"type": "str", "default": ""},
            "service": {"type": "bool"},
            "image": {"type": "str", "default": ""},
            **CHOICE_OPTIONS,
        },
        supports_check_mode=True,
    )
    end(module, lambda: look(module))


if __name__ == "__main__":
    main()
