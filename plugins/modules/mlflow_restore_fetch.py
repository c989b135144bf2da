#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: fetch what a restore needs from the repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_restore_fetch
short_description: Fetch what a restore needs from the repository
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - While MLflow serves, fetches the database of a snapshot into the directory of the restore, C(switches/ID) below
    O(directory), and brings artifacts back that the snapshot has and the store lacks. Nothing that is in the store is
    overwritten or deleted.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
  - freegee.mlflow_sftp.backup_repository
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each call fetches the database.
options:
  record:
    description:
      - The restore, as M(freegee.mlflow_sftp.mlflow_restore_plan) returns it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Fetch the snapshot
  freegee.mlflow_sftp.mlflow_restore_fetch:
    directory: /opt/mlflow-stack
    repository: /srv/backup/mlflow
    password: "{{ vault_backup_password }}"
    image: restic/restic
    host: "{{ inventory_hostname }}"
    record: "{{ plan.record }}"
  async: 86400
  poll: 3
"""

RETURN = r"""
lines:
  description: What was fetched and brought back, for people.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.fetching import fetch
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.module import (
    REPOSITORY_OPTIONS,
    access_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import require_state
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def run(module: AnsibleModule) -> dict:
    """Fetch the snapshot."""
    record = RestoreRecord.from_dict(module.params["record"])
    if module.check_mode:
        return {"changed": True, "lines": []}
    stack = Stack(settings_of(module.params))
    lines = fetch(stack, access_of(module.params), require_state(stack, record))
    return {"changed": True, "lines": lines}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            **REPOSITORY_OPTIONS,
            "record": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
