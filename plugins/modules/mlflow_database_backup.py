#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: copy MLflow's database to a file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_database_backup
short_description: Copy MLflow's database to a file
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Writes a complete copy of an SQLite database, or, with C(pg_dump), of a PostgreSQL one in its custom format.
  - The copy appears under its name when it is complete, readable for its owner only.
  - MLflow may go on writing meanwhile.
  - Runs where C(mlflow_sftp) is installed, such as in a container of the stack.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.mlflow_database
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - With O(force=true) each call writes the file anew.
options:
  dest:
    description:
      - File to write.
    type: path
    required: true
  force:
    description:
      - Whether to replace a file that is there already. Otherwise it is kept, as the older and more precious one.
    type: bool
    default: false
requirements:
  - mlflow-sftp
  - sqlalchemy >= 2
  - pg_dump, for PostgreSQL
seealso:
  - module: freegee.mlflow_sftp.mlflow_artifact_relocate
"""

EXAMPLES = r"""
- name: Back the database up
  freegee.mlflow_sftp.mlflow_database_backup:
    dest: /backup/mlflow.db
    force: true
  delegate_to: mlflow_container
"""

RETURN = r"""
size:
  description: Size of the file in bytes.
  returned: if the file is there
  type: int
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.database import (
    DATABASE_OPTIONS,
    open_database,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import execute


def back_up(module: AnsibleModule) -> dict:
    """Write the file if it is due."""
    from mlflow_sftp.operations.database_backup import back_up as write_backup

    target = Path(module.params["dest"])
    with open_database(module.params) as database:
        due = module.params["force"] or not target.exists()
        if due and not module.check_mode:
            write_backup(database, target)
    size = {"size": target.stat().st_size} if target.exists() else {}
    return {"changed": due, **size}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **DATABASE_OPTIONS,
            "dest": {"type": "path", "required": True},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    execute(module, lambda: back_up(module), "No backup was made")


if __name__ == "__main__":
    main()
