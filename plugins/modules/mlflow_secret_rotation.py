#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: replace a secret that the collection generated for a stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_secret_rotation
short_description: Replace a secret that the collection generated for a stack
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Generates another token of the notebook, or another password of the stack's own PostgreSQL, starts anew the
    services that have it, and requires that the new secret is accepted and the old one refused. Where anything fails,
    the old one is used again.
  - The old secret lies in C(.secrets/rotation) below O(directory) until the end. What was interrupted goes on in the
    next run, or with C(site.yml).
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
    details:
      - In check mode, the present secret is tried.
  diff_mode:
    support: none
    details:
      - The files hold secrets.
  idempotent:
    support: none
    details:
      - Each call makes a new secret.
options:
  name:
    description:
      - The secret. V(notebook_token) restarts the notebook and ends its kernels, V(database_password) restarts
        PostgreSQL and the MLflow server.
    type: str
    choices: [notebook_token, database_password]
    required: true
  wait_timeout:
    description:
      - Seconds within which services must be healthy.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Replace the notebook's token
  freegee.mlflow_sftp.mlflow_secret_rotation:
    directory: /opt/mlflow-stack
    name: notebook_token
"""

RETURN = r"""
message:
  description: What was done, or in check mode would be, for people.
  returned: success
  type: str
"""

from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
    require_none_interrupted,
    require_none_planned,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.record import UpgradeRecord
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.secrets import (
    SECRETS,
    SecretRotation,
)


def require_free(stack: Stack, rotation: SecretRotation) -> list[Record]:
    """Require that no cutover is in the way, and return the records of all; a rotation that was begun goes on."""
    records = load_all(stack.settings.switches)
    require_none_interrupted(records)
    if not rotation.interrupted:
        require_none_planned(records, stack.settings.switches)
    return records


def upgrade_warning(records: Sequence[Record], title: str) -> str:
    """Return what whoever might undo the last upgrade has to know before; empty where there is nothing to undo."""
    done = [record for record in records if record.state == "done"]
    if not done or not isinstance(done[-1], UpgradeRecord):
        return ""
    return (
        f"With another one as {title}, the {done[-1].title} of {done[-1].id} cannot be undone any more: "
        f"{UpgradeRecord.PLAYBOOK} -e undo=true would bring the old one back, and refuses."
    )


def run(module: AnsibleModule) -> dict:
    """Replace the secret."""
    stack = Stack(settings_of(module.params, "wait_timeout"))
    secret = SECRETS[module.params["name"]]
    rotation = SecretRotation(stack, module.params["name"])
    services = " and ".join(secret.services)
    records = require_free(stack, rotation)
    if module.check_mode:
        rotation.require_possible()
        if warning := upgrade_warning(records, secret.title):
            module.warn(warning)
        return {
            "changed": True,
            "message": f"A real run would replace {secret.title} and restart {services}.",
        }
    stack.settings.switches.mkdir(mode=0o700, exist_ok=True)
    with locked(stack.settings.switches):
        require_free(stack, rotation)
        rotation.require_possible()
        rotation.rotate()
    return {
        "changed": True,
        "message": f"{secret.title.capitalize()} was replaced: the new one is accepted, the old one refused. "
        f"Restarted: {services}.",
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "name": {"type": "str", "choices": list(SECRETS), "required": True},
            "wait_timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
