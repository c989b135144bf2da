#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: bring a stack back from a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_backup_restore
short_description: Bring a stack back from a backup
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Restores the stack's directory, its volumes and its database from a snapshot, on a host that has no such stack. The
    services are started by whatever deploys the stack afterwards.
  - Where anything fails, what had been restored is removed again. A host that has the
    stack, or a part of it, is refused; M(freegee.mlflow_sftp.mlflow_restore) restores into it.
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
      - A second call refuses.
options:
  project:
    description:
      - Compose project of the stack, as when it was backed up.
    type: str
    required: true
  snapshot:
    description:
      - Beginning of the snapshot's id. Empty means the newest of this stack.
    type: str
    default: ""
  wait_timeout:
    description:
      - Seconds within which PostgreSQL must be healthy.
    type: int
    default: 180
  engine:
    description:
      - What is to run the services. With V(swarm), the files of the stack are restored alone, without what says that it
        has been deployed; M(freegee.mlflow_sftp.mlflow_restore) gives the database its content once a swarm serves it.
    type: str
    choices: [compose, swarm]
    default: compose
  server_image:
    description:
      - Image of the MLflow server of this collection that is to go on with the database. It restores a dump of
        PostgreSQL, and brings the database of an earlier MLflow to its schema. With V(swarm), it is not used.
    type: str
    default: ""
  postgres_image:
    description:
      - Image of the PostgreSQL that is to go on with the database. Empty means that of the snapshot.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Bring the stack back
  freegee.mlflow_sftp.mlflow_backup_restore:
    directory: /opt/mlflow-stack
    repository: /srv/backup/mlflow
    password: "{{ vault_backup_password }}"
    image: restic/restic
    host: "{{ inventory_hostname }}"
    project: mlflow
"""

RETURN = r"""
restored:
  description: What was restored.
  returned: success, not in check mode
  type: dict
  contains:
    snapshot:
      description: Id of the snapshot.
      type: str
    runs:
      description: How many runs there were before and after the database was copied.
      type: list
      elements: int
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
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import Owner
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.module import (
    REPOSITORY_OPTIONS,
    access_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restore import (
    RestoreOptions,
    look,
    restore,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
)


def run(module: AnsibleModule) -> dict:
    """Restore, or say what would be."""
    given = module.params
    options = RestoreOptions(
        access=access_of(given),
        owner=Owner(given["host"], given["project"]),
        snapshot=given["snapshot"],
        directory=Path(given["directory"]),
        wait_timeout=given["wait_timeout"],
        engine=given["engine"],
        server_image=given["server_image"],
        postgres_image=given["postgres_image"],
    )
    return look(options) if module.check_mode else restore(options)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            **REPOSITORY_OPTIONS,
            "project": {"type": "str", "required": True},
            "snapshot": {"type": "str", "default": ""},
            "wait_timeout": {"type": "int", "default": 180},
            "engine": {"type": "str", "choices": ["compose", "swarm"], "default": "compose"},
            "server_image": {"type": "str", "default": ""},
            "postgres_image": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
