#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: prove that a backup can be restored."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_backup_drill
short_description: Prove that a backup can be restored
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Restores a snapshot into a second project beside a deployed stack, starts its MLflow where nobody else reaches it,
    compares rows and files, reads runs and models back, and removes the second project again, whatever happened.
  - The stack itself is not touched. Of artifacts on an SFTP account that are not in the snapshot, the account's own
    files are read.
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
      - Each call restores the snapshot.
options:
  snapshot:
    description:
      - Beginning of the snapshot's id. Empty means the newest of this stack.
    type: str
    default: ""
  project:
    description:
      - Compose project of the second stack, which the names of its containers, volumes and networks begin with.
    type: str
    required: true
  drill_directory:
    description:
      - Directory of the second stack, which is deleted at the end.
    type: path
    required: true
  verify_runs:
    description:
      - How many runs are read back, or V(all).
    type: str
    default: all
  wait_timeout:
    description:
      - Seconds within which the restored services must be healthy.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Prove that the newest backup can be restored
  freegee.mlflow_sftp.mlflow_backup_drill:
    directory: /opt/mlflow-stack
    repository: /srv/backup/mlflow
    password: "{{ vault_backup_password }}"
    image: restic/restic
    host: "{{ inventory_hostname }}"
    project: mlflow-drill
    drill_directory: /opt/mlflow-stack-drill
"""

RETURN = r"""
drill:
  description: What was restored and read.
  returned: success, not in check mode
  type: dict
  contains:
    snapshot:
      description: Id of the snapshot.
      type: str
    age:
      description: How old it is, in seconds.
      type: int
    runs:
      description: Number of runs in the restored database.
      type: int
    read:
      description: How many runs and models were read back and compared; empty with the files of an SFTP account.
      type: dict
    locations:
      description: Number of locations in the database that were compared with the files.
      type: int
    files:
      description: Number of files in the artifact store.
      type: int
    bytes:
      description: Their size in bytes.
      type: int
    seconds:
      description: How long it took.
      type: float
lines:
  description: The result for people.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.drill import (
    DrillOptions,
    drill,
    look,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.module import (
    REPOSITORY_OPTIONS,
    access_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def run(module: AnsibleModule) -> dict:
    """Carry the drill out, or say what it would do."""
    given = module.params
    options = DrillOptions(
        access=access_of(given),
        host=given["host"],
        snapshot=given["snapshot"],
        project=given["project"],
        directory=Path(given["drill_directory"]),
        runs=given["verify_runs"],
    )
    stack = Stack(settings_of(given, "verify_runs", "wait_timeout"))
    return look(stack, options) if module.check_mode else drill(stack, options)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            **REPOSITORY_OPTIONS,
            "snapshot": {"type": "str", "default": ""},
            "project": {"type": "str", "required": True},
            "drill_directory": {"type": "path", "required": True},
            "verify_runs": {"type": "str", "default": "all"},
            "wait_timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
