#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: carry out a storage switch, or undo one that was interrupted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_storage_switch
short_description: Carry out a storage switch, or undo one that was interrupted
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Closes MLflow, copies the rest, changes the locations, tries the next server before anybody reaches it, gives the
    stack its next files, opens MLflow and makes a round trip from every service. If anything of that fails,
    everything is as it was before.
  - The next files are in C(switches/ID/next) below O(directory).
  - Run it with C(async), so that a lost connection does not stop it. Whatever stops it, a later call finishes or
    undoes the switch.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
  - freegee.mlflow_sftp.cutover
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - A switch that is done is not done again, M(freegee.mlflow_sftp.mlflow_storage_switch_info) says so.
"""

EXAMPLES = r"""
- name: Switch
  freegee.mlflow_sftp.mlflow_storage_switch:
    directory: /opt/mlflow-stack
    record: "{{ plan.record }}"
  async: 86400
  poll: 2
"""

RETURN = r"""
record:
  description: The switch, with its steps, their seconds, and how long MLflow was closed.
  returned: always
  type: dict
lines:
  description: The result for people.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import (
    require_state,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    CUTOVER_OPTIONS,
    CUTOVER_SETTINGS,
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Stack,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.engine import (
    SwitchEngine,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.operations import (
    Switch,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import (
    SwitchRecord,
)


def describe(record: SwitchRecord, notes: list[str]) -> list[str]:
    """Return the result for people."""
    target = record.target
    old = f"The old copy at {record.source.uri} is untouched: playbooks/storage_prune.yml removes it. "
    return [
        f"Artifacts are at {target.uri} ({target.access} access); {record.closed}.",
        f"Now put artifact_storage: {target.storage} and mlflow_stack_access: {target.access} into the "
        "inventory; site.yml refuses another store.",
        f"{old if record.copies else ''}playbooks/storage_switch.yml -e undo=true rolls back.",
        *notes,
    ]


def run(module: AnsibleModule) -> dict:
    """Finish or undo the switch."""
    options = module.params
    stack = Stack(settings_of(options, *CUTOVER_SETTINGS))
    record = SwitchRecord.from_dict(options["record"])
    if module.check_mode:
        return {"changed": True, "record": record.as_dict(), "lines": []}
    switch = Switch(stack, record)
    with locked(stack.settings.switches):
        engine = SwitchEngine(require_state(stack, record), switch)
        if options["state"] == "undone":
            record = engine.undo()
            lines = [f"The switch to {record.target} was undone.", record.left_behind]
            return {"changed": True, "record": record.as_dict(), "lines": list(filter(None, lines))}
        if not record.interrupted:
            # Again right before MLflow is closed; here, before anything is started.
            switch.drain(record)
        record = engine.finish()
        notes = [*switch.notes, *switch.purge(record)]
        return {"changed": True, "record": record.as_dict(), "lines": describe(record, notes)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            **CUTOVER_OPTIONS,
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
