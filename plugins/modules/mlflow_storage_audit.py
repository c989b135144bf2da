#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: compare a stack's database with its store."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_storage_audit
short_description: Compare a stack's database with its store
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Compares the database of a deployed stack with its artifact store, both ways.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  quarantine:
    description:
      - Move files that no row of the database names to a directory of their own in the store. Refused while a restore
        can be undone, which brings such rows back.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Compare database and store
  freegee.mlflow_sftp.mlflow_storage_audit:
    directory: /opt/mlflow-stack
  register: compared
"""

RETURN = r"""
audit:
  description:
    - What was found, in the form of M(freegee.mlflow_sftp.mlflow_storage_info), with the store and its root.
  returned: success
  type: dict
  contains:
    store:
      description: The store.
      type: str
    root:
      description: What experiments record.
      type: str
    files:
      description: Number of files in the store.
      type: int
    bytes:
      description: Their size in bytes.
      type: int
    locations:
      description: Number of locations below the root.
      type: int
    counts:
      description: Number of problems of each kind that occurs.
      type: dict
    problems:
      description: What is missing, truncated, orphaned, at an unknown location or unreadable.
      type: list
      elements: dict
    quarantined:
      description: What was moved, or would be in check mode, and where to.
      type: dict
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
    require_none_interrupted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.decisions import (
    require_no_undo,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Stack,
)


def run(module: AnsibleModule) -> dict:
    """Compare, and move aside what the options ask for."""
    stack = Stack(settings_of(module.params))
    moves = ["--quarantine"] if module.params["quarantine"] else []
    check = ["--check"] if module.check_mode else []
    with contextlib.ExitStack() as held:
        if moves and stack.settings.switches.is_dir():
            held.enter_context(locked(stack.settings.switches))
            records = load_all(stack.settings.switches)
            require_none_interrupted(records)
            require_no_undo(records, stack.settings.switches)
        stack.start_tool(stack.planner, stack.credentials())
        program = held.enter_context(running_program(stack.planner))
        found = program.call(
            "audit", stack.store.root, "--store", stack.store.uri, *moves, *check, accepted=(0, INCOMPLETE)
        )
    result = {**found, "store": stack.store.uri, "root": stack.store.root}
    return {"changed": bool(found["quarantined"]), "audit": result}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**STACK_OPTIONS, "quarantine": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
