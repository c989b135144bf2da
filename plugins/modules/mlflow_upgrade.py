#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: carry out an upgrade, or undo one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_upgrade
short_description: Carry out an upgrade, or undo one
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Closes MLflow, backs up the database, migrates it, tries the next server before anybody reaches it, gives the
    stack its next files, opens MLflow and makes a round trip from every service. If anything of that fails,
    database, files and services are as they were before, unless somebody has logged to the next version already.
  - The next files are in C(switches/ID/next) below O(directory).
  - Run it with C(async), so that a lost connection does not stop it. Whatever stops it, a later call finishes or
    undoes the upgrade.
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
      - An upgrade that is done is not done again, M(freegee.mlflow_sftp.mlflow_upgrade_info) says so.
"""

EXAMPLES = r"""
- name: Upgrade
  freegee.mlflow_sftp.mlflow_upgrade:
    directory: /opt/mlflow-stack
    record: "{{ plan.record }}"
  async: 86400
  poll: 2
"""

RETURN = r"""
record:
  description: The upgrade, with its steps, their seconds, and how long MLflow was closed.
  returned: always
  type: dict
lines:
  description: The result for people.
  returned: success
  type: list
  elements: str
"""

from functools import partial

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
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.engine import (
    RollingEngine,
    UpgradeEngine,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.operations import Upgrade
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord


def describe(record: UpgradeRecord, *, rolls: bool, on_swarm: bool) -> list[str]:
    """Return the result for people."""
    back = "the version before" if rolls else "the backup from before, as long as nothing is logged"
    return [
        f"The stack runs {record.target}; {record.closed}.",
        f"playbooks/upgrade.yml -e undo=true goes back to {back}.",
        *(
            ["site.yml brings the gateways, PostgreSQL's image and the configuration to this version."]
            if on_swarm
            else []
        ),
    ]


def run(module: AnsibleModule) -> dict:
    """Finish or undo the upgrade."""
    options = module.params
    stack = Stack(settings_of(options, *CUTOVER_SETTINGS))
    record = UpgradeRecord.from_dict(options["record"])
    if module.check_mode:
        return {"changed": True, "record": record.as_dict(), "lines": []}
    upgrade = Upgrade(stack, record)
    with locked(stack.settings.switches):
        rolls = upgrade.rolls(record)
        engine = (RollingEngine if rolls else UpgradeEngine)(
            require_state(stack, record), upgrade, discard=options["discard"]
        )
        told = partial(describe, rolls=rolls, on_swarm=stack.project.on_swarm)
        return carry_out(engine, upgrade, options["state"], told)


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
