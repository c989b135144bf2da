#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: plan an upgrade."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_upgrade_plan
short_description: Plan an upgrade
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Finds out what an upgrade would change, refuses one that could not succeed, writes its record, and begins the
    directory of the stack's next files, C(switches/ID/next) below O(directory). The database stays as it is.
  - In check mode, an image that has yet to be built is no error, and the plan says what is not known.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: none
    details:
      - Each call writes the record.
options:
  record:
    description:
      - The upgrade, as M(freegee.mlflow_sftp.mlflow_upgrade_info) returns it.
    type: dict
    required: true
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
- name: Plan the upgrade
  freegee.mlflow_sftp.mlflow_upgrade_plan:
    directory: /opt/mlflow-stack
    record: "{{ decision.record }}"
  register: plan
"""

RETURN = r"""
record:
  description: The upgrade, with what the plan has found.
  returned: success
  type: dict
closes:
  description: Whether MLflow is to be closed. On a swarm, nothing but another schema of the database asks for that.
  returned: success
  type: bool
lines:
  description: The plan for people.
  returned: success
  type: list
  elements: str
"""

import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.look import look_with
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.space import volume_free_bytes
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade import plan
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.images import look_into
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.operations import Upgrade
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import (
    UpgradeRecord,
    Version,
)


def find_out(stack: Stack, record: UpgradeRecord, restart_seconds: int) -> plan.Findings:
    """Ask both images and the database."""
    schema, known, size = look_with(stack, record.target.image)
    return plan.Findings(
        schema=schema,
        before=look_into(record.source.image, record.source.postgres_image),
        after=look_into(record.target.image, record.target.postgres_image),
        known=known,
        bytes=size,
        is_sqlite=stack.database.startswith("sqlite:"),
        free_bytes=shutil.disk_usage(stack.settings.directory).free,
        restart_seconds=restart_seconds,
        rolls=stack.project.on_swarm
        and schema.state == "current"
        and schema.login != "behind"
        and not record.changes_postgres,
        volume_free_bytes=volume_free_bytes(stack),
    )


def diff(record: UpgradeRecord) -> dict[str, str]:
    """Return the versions before and after, for Ansible to show."""
    return {"before": listed(record.source), "after": listed(record.target)}


def listed(version: Version) -> str:
    """Return a version, a line for each part."""
    return "".join(f"{name}: {value}\n" for name, value in vars(version).items() if value)


def run(module: AnsibleModule) -> dict:
    """Plan the upgrade."""
    options = module.params
    stack = Stack(settings_of(options))
    record = UpgradeRecord.from_dict(options["record"])
    missing = [image for image in record.target.images if not docker.has_image(image)]
    if missing and module.check_mode:
        lines = [f"To: {' and '.join(missing)}, yet to be built. What becomes of the database is known then."]
        return {
            "changed": True,
            "closes": True,
            "record": record.as_dict(),
            "lines": lines,
            "diff": diff(record),
        }
    found = find_out(stack, record, options["restart_seconds"])
    record = plan.planned(record, found)
    upgrade = Upgrade(stack, record)
    upgrade.require_steady(record, options["replicas"])
    if not module.check_mode:
        upgrade.keep_plan(record)
    return {
        "changed": True,
        "closes": not upgrade.rolls(record),
        "record": record.as_dict(),
        "lines": plan.describe(record, found),
        "diff": diff(record),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "record": {"type": "dict", "required": True},
            "restart_seconds": {"type": "int", "default": 15},
            "replicas": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
