#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: carry out a move of MLflow's database, or undo one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_database_move
short_description: Carry out a move of MLflow's database, or undo one
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Closes MLflow, copies every row to the next database and compares it, tries the next server before anybody reaches
    it, gives the stack its next files, opens MLflow and makes a round trip from every service. If anything of that
    fails, files and services are as they were before and what was begun of the next database is removed, unless
    somebody has logged to it already.
  - The database before is only read. It stays where it is until M(freegee.mlflow_sftp.mlflow_database_prune) removes
    it.
  - The next files are in C(switches/ID/next) below O(directory).
  - Run it with C(async), so that a lost connection does not stop it. Whatever stops it, a later call finishes or
    undoes the move.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
  - freegee.mlflow_sftp.cutover
  - freegee.mlflow_sftp.cutover.discard
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - A move that is done is not done again, M(freegee.mlflow_sftp.mlflow_database_move_info) says so.
"""

EXAMPLES = r"""
- name: Move the database
  freegee.mlflow_sftp.mlflow_database_move:
    directory: /opt/mlflow-stack
    record: "{{ plan.record }}"
  async: 86400
  poll: 2
"""

RETURN = r"""
record:
  description: The move, with its steps, their seconds, the number of rows, and how long MLflow was closed.
  returned: always
  type: dict
lines:
  description: The result for people.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.module import carry_out
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import require_state
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    CUTOVER_OPTIONS,
    CUTOVER_SETTINGS,
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.decisions import require_next
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.engine import MoveEngine
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.look import database_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.operations import Move
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def describe(record: MoveRecord) -> list[str]:
    """Return the result for people."""
    return [
        f"MLflow's database is {record.target}, with {record.rows} rows copied and compared; {record.closed}.",
        "Now put the same mlflow_stack_backend_store into the inventory; site.yml refuses another database.",
        f"{record.source} is untouched: playbooks/database_move.yml -e undo=true goes back to it, as long as nothing "
        "is logged; playbooks/database_prune.yml removes it.",
    ]


def run(module: AnsibleModule) -> dict:
    """Finish or undo the move."""
    options = module.params
    settings = settings_of(options, *CUTOVER_SETTINGS)
    record = MoveRecord.from_dict(options["record"])
    if module.check_mode:
        return {"changed": True, "record": record.as_dict(), "lines": []}
    with locked(settings.switches):
        # Read here, where nobody changes what is deployed any more.
        stack = Stack(settings)
        record = require_state(stack, record)
        require_next(record, database_of(stack), load_all(settings.switches))
        move = Move(stack, record)
        engine = MoveEngine(record, move, discard=options["discard"])
        return carry_out(engine, move, options["state"], describe)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            **CUTOVER_OPTIONS,
            "discard": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
