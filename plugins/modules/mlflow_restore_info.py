#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: decide what a restore is to do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_restore_info
short_description: Decide what a restore is to do
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Looks whether the Docker host has the stack, reads which restores were begun before, and decides whether one is to
    be started, finished or undone, or why that cannot be. The repository is not asked.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.stack
  - freegee.mlflow_sftp.cutover.choice
"""

EXAMPLES = r"""
- name: Decide about a restore
  freegee.mlflow_sftp.mlflow_restore_info:
    directory: /opt/mlflow-stack
  register: decision
"""

RETURN = r"""
action:
  description: V(bare) where the host has no stack yet, V(start), V(finish) or V(rollback).
  returned: success
  type: str
  sample: start
message:
  description: The same as a sentence.
  returned: success
  type: str
record:
  description: The restore that is gone on with; empty for none.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.drivers import driver_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    CHOICE_OPTIONS,
    STACK_OPTIONS,
    end,
    require_nobody,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.decisions import (
    Options,
    decide,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Settings,
    Stack,
    is_on_swarm,
)


def digest(settings: Settings) -> str:
    """Return a digest of how a stack is deployed; empty where there is none."""
    if (settings.directory / "compose.yml").exists():
        return files.digest(settings.directory)
    return driver_of(Stack(settings)).digest() if is_on_swarm(settings.directory) else ""


def look(module: AnsibleModule) -> dict:
    """Return the decision."""
    given = module.params
    settings = settings_of(given)
    installed = digest(settings)
    options = Options(
        resume=given["resume"],
        undo=given["undo"],
        installed=installed,
        check=module.check_mode,
    )
    records = load_all(settings.switches) if installed else []
    require_nobody(settings, records)
    decision = decide(records, options)
    return {
        "action": decision.action,
        "message": str(decision),
        "record": decision.record.as_dict() if decision.record else {},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**STACK_OPTIONS, **CHOICE_OPTIONS},
        supports_check_mode=True,
    )
    end(module, lambda: look(module))


if __name__ == "__main__":
    main()
