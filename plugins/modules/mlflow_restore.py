#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: carry out a restore into a stack, or undo one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_restore
short_description: Carry out a restore into a stack, or undo one
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Closes MLflow, backs up the database, gives it the content of a snapshot and the schema of the deployed MLflow,
    tries that before anybody reaches it, opens MLflow and makes a round trip from every service. If anything of that
    fails, database and services are as they were before, unless somebody has logged since already.
  - What came in between plan and restore stops it, unless the record says that it may be given up. So does what was
    deployed meanwhile.
  - M(freegee.mlflow_sftp.mlflow_restore_fetch) has fetched the snapshot; the repository is not needed any more.
  - Run it with C(async), so that a lost connection does not stop it. Whatever stops it, a later call finishes or
    undoes the restore.
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
      - A restore that is done has to be planned again before it is done again.
"""

EXAMPLES = r"""
- name: Restore
  freegee.mlflow_sftp.mlflow_restore:
    directory: /opt/mlflow-stack
    record: "{{ plan.record }}"
  async: 86400
  poll: 2
"""

RETURN = r"""
record:
  description: The restore, with its steps, their seconds, and how long MLflow was closed.
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
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.engine import RestoreEngine
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.operations import Restore
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def describe(record: RestoreRecord) -> list[str]:
    """Return the result for people."""
    users = (
        f"The snapshot brought users back who were not there before: {', '.join(record.returned)}. Who is not to "
        "log in, delete in MLflow, or declare with state: absent in mlflow_stack_users and run site.yml."
        if record.returned
        else ""
    )
    return [
        f"MLflow goes on with the {record.snapshot}; {record.closed}.",
        *([users] if users else []),
        "playbooks/restore.yml -e undo=true goes back to the database from before, as long as nothing is logged.",
    ]


def run(module: AnsibleModule) -> dict:
    """Finish or undo the restore."""
    options = module.params
    stack = Stack(settings_of(options, *CUTOVER_SETTINGS))
    record = RestoreRecord.from_dict(options["record"])
    if module.check_mode:
        return {"changed": True, "record": record.as_dict(), "lines": []}
    restore = Restore(stack, record)
    with locked(stack.settings.switches):
        known = require_state(stack, record)
        if options["state"] == "done":
            restore.require_as_planned(known)
        engine = RestoreEngine(known, restore, discard=options["discard"])
        return carry_out(engine, restore, options["state"], describe)


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
