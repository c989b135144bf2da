#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: back a stack up."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_backup
short_description: Back a stack up
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Backs a deployed stack up with restic while MLflow serves - the database first, then local artifacts, notebooks,
    configuration with keys, and the records of cutovers, in one snapshot. Every run in the snapshot has its files.
  - Makes the repository where its place is empty and did not have the last good backup, removes locks of the dead,
    forgets what O(keep) does not cover of this stack's snapshots, and checks the repository.
  - Writes C(backup.json) into the stack's directory, with the last good backup and what failed since.
  - In check mode, lists the snapshots and what would be backed up.
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
      - Each call makes a snapshot.
options:
  keep:
    description:
      - How many snapshots to keep, by C(last), C(hourly), C(daily), C(weekly), C(monthly) and C(yearly).
      - Empty keeps all.
    type: dict
    default: {}
  include_account:
    description:
      - Back up the files of the SFTP account as well. They are copied to the Docker host first, and later copies bring
        what is new, and remove what the account has no more.
    type: bool
    default: false
  check_repository:
    description:
      - Check the repository's structure afterwards.
    type: bool
    default: true
  check_data:
    description:
      - How much of the repository's data is read and compared then, as C(10%), C(1/7) or C(2G). Empty reads none.
    type: str
    default: ""
  new_repository:
    description:
      - Begin with a repository, or with another one, at the place that had the last good backup. Otherwise that is
        refused, since the disk with the repository may not be mounted.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Back the stack up
  freegee.mlflow_sftp.mlflow_backup:
    directory: /opt/mlflow-stack
    repository: /srv/backup/mlflow
    password: "{{ vault_backup_password }}"
    image: restic/restic
    host: "{{ inventory_hostname }}"
    keep: {daily: 7, weekly: 4}
"""

RETURN = r"""
backup:
  description: What was backed up.
  returned: success, not in check mode
  type: dict
  contains:
    snapshot:
      description: Id of the snapshot.
      type: str
    files:
      description: Number of files in it.
      type: int
    bytes:
      description: Their size in bytes.
      type: int
    bytes_added:
      description: What of it was new to the repository, in bytes.
      type: int
    seconds:
      description: How long it took.
      type: float
    age_before:
      description: How old the last good backup was until then, in seconds; empty where there was none.
      type: int
    runs:
      description: How many runs the database held before and after it was copied.
      type: list
      elements: int
    schema:
      description: Revisions of the database.
      type: list
      elements: str
    mlflow:
      description: Version of MLflow.
      type: str
    collection:
      description: Version of the collection that deployed the stack.
      type: str
    project:
      description: Compose project.
      type: str
    host:
      description: Name of the Docker host in the repository.
      type: str
    repository:
      description: Where it is.
      type: str
    repository_id:
      description: Id of the repository.
      type: str
snapshots:
  description: This stack's snapshots.
  returned: in check mode
  type: list
  elements: dict
lines:
  description: The result for people.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.backup import back_up, look
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.module import (
    BACKUP_OPTIONS,
    REPOSITORY_OPTIONS,
    options_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def run(module: AnsibleModule) -> dict:
    """Back up, or say what would be."""
    given = module.params
    options = options_of(given)
    stack = Stack(settings_of(given))
    return look(stack, options) if module.check_mode else back_up(stack, options)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            **REPOSITORY_OPTIONS,
            **BACKUP_OPTIONS,
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
