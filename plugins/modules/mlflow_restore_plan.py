#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: plan a restore into a stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_restore_plan
short_description: Plan a restore into a stack
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Finds out which snapshot a restore would bring into a deployed stack, what that gives up, which artifacts it
    would bring back and which nobody has any more, refuses a restore that could not succeed, writes its record, and
    begins the directory of the stack's next files, C(switches/ID/next) below O(directory). Database, store and
    repository stay as they are.
  - What came in since the snapshot is given up only with O(discard). In check mode, the plan says so instead.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
  - freegee.mlflow_sftp.backup_repository
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: none
    details:
      - Each call writes a record.
options:
  snapshot:
    description:
      - Beginning of the snapshot's id. Empty means the newest of this stack.
    type: str
    default: ""
  discard:
    description:
      - Give up what came in since the snapshot.
    type: bool
    default: false
  restart_seconds:
    description:
      - How long closing MLflow and opening it again takes, for the estimate.
    type: int
    default: 15
  replicas:
    description:
      - How many servers the inventory asks a swarm for. One that has another number is refused; V(0) compares nothing.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Plan the restore of the newest snapshot
  freegee.mlflow_sftp.mlflow_restore_plan:
    directory: /opt/mlflow-stack
    repository: /srv/backup/mlflow
    password: "{{ vault_backup_password }}"
    image: restic/restic
    host: "{{ inventory_hostname }}"
    discard: true
  register: plan
"""

RETURN = r"""
record:
  description: The restore.
  returned: success
  type: dict
lines:
  description: The plan for people.
  returned: success
  type: list
  elements: str
"""

import shutil
import time
from collections.abc import Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.fetching import Seen, look
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.module import (
    REPOSITORY_OPTIONS,
    access_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.drivers import driver_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import ID_FORMAT
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all, new_id
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore import plan
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.operations import Restore
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.restore.record import RestoreRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.space import volume_free_bytes
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def findings(stack: Stack, seen: Seen, restart_seconds: int) -> plan.Findings:
    """Return what was seen, with what the host says besides."""
    return plan.Findings(
        schema=seen.schema,
        database="sqlite" if stack.database.startswith("sqlite:") else "postgresql",
        known=seen.known,
        bytes=seen.bytes,
        fetched_bytes=seen.fetched_bytes,
        lacking=seen.lacking,
        store_free_bytes=seen.store_free_bytes,
        lost=seen.lost,
        free_bytes=shutil.disk_usage(stack.settings.directory).free,
        now=time.time(),
        restart_seconds=restart_seconds,
        volume_free_bytes=volume_free_bytes(stack),
    )


def listed(counts: Mapping[str, int]) -> str:
    """Return how many runs and so on there are, a line for each kind."""
    return "".join(f"{name}: {count}\n" for name, count in sorted(counts.items())) or "not known\n"


def run(module: AnsibleModule) -> dict:
    """Plan the restore."""
    options = module.params
    stack = Stack(settings_of(options))
    driver = driver_of(stack)
    driver.require_steady(options["replicas"], closes=True)
    # Before anything is looked at: what is deployed from now on is not planned for.
    installed = driver.digest()
    seen = look(stack, access_of(options), options["host"], options["snapshot"])
    record = RestoreRecord(
        id=new_id(time.strftime(ID_FORMAT, time.gmtime()), load_all(stack.settings.switches)),
        store=stack.store,
        snapshot=seen.snapshot,
        consent=options["discard"],
        planned_on=installed,
    )
    found = findings(stack, seen, options["restart_seconds"])
    plan.require_restorable(record, found, check=module.check_mode)
    if not module.check_mode:
        Restore(stack, record).keep_plan(record)
    return {
        "changed": True,
        "record": record.as_dict(),
        "lines": plan.describe(record, found),
        "diff": {"before": listed(found.known), "after": listed(seen.snapshot.known)},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            **REPOSITORY_OPTIONS,
            "snapshot": {"type": "str", "default": ""},
            "discard": {"type": "bool", "default": False},
            "restart_seconds": {"type": "int", "default": 15},
            "replicas": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
