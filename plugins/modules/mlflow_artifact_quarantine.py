#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: move artifacts aside that no row of MLflow's database leads to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_artifact_quarantine
short_description: Move artifacts aside that MLflow's database does not know
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Compares MLflow's database with an artifact store, as M(freegee.mlflow_sftp.mlflow_storage_info) does with
    O(freegee.mlflow_sftp.mlflow_storage_info#module:audit=true), and moves what is orphaned, files that no row
    leads to, to a directory C(.mlflow-sftp-quarantine/TIME) below the store. Nothing is deleted.
  - Files that are logged meanwhile are not taken for orphaned.
  - Fails, having moved nothing, if no row at all leads below O(root).
  - Runs where C(mlflow_sftp) is installed, such as in a container of the stack.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.mlflow_database
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows where what is orphaned was, and where it was moved.
  idempotent:
    support: full
options:
  root:
    description:
      - The artifact root as the database spells it.
    type: str
    required: true
  store:
    description:
      - Where O(root) is, a path or C(sftp://) URI, if O(root) does not say so itself, as C(mlflow-artifacts:/)
        does not.
    type: str
  working_directory:
    description:
      - Directory in which the MLflow server runs, if the database has relative locations.
    type: str
requirements:
  - mlflow-sftp
  - sqlalchemy >= 2
seealso:
  - module: freegee.mlflow_sftp.mlflow_storage_info
"""

EXAMPLES = r"""
- name: Move aside what nobody knows
  freegee.mlflow_sftp.mlflow_artifact_quarantine:
    root: sftp://me@sftp.example.org:2121/artifacts
  delegate_to: mlflow_container

- name: The same, with an MLflow server that proxies
  freegee.mlflow_sftp.mlflow_artifact_quarantine:
    root: mlflow-artifacts:/
    store: sftp://me@sftp.example.org:2121/artifacts
  delegate_to: mlflow_container
"""

RETURN = r"""
quarantined:
  description: Where each orphaned path was moved, or would be in check mode. Both are relative to the store.
  returned: success
  type: dict
  sample: {1/abc: .mlflow-sftp-quarantine/20260102T030405Z/1/abc}
audit:
  description: Where database and store disagreed before, as M(freegee.mlflow_sftp.mlflow_storage_info) tells it.
  returned: success
  type: dict
  contains:
    files:
      description: Number of files in the store.
      type: int
    bytes:
      description: Their size in bytes.
      type: int
    locations:
      description: Number of locations below the root.
      type: int
    counts:
      description: Number of problems of each kind that occurs.
      type: dict
      sample: {missing: 1, orphaned: 2}
    problems:
      description: What is missing, truncated, orphaned, at an unknown location or unreadable.
      type: list
      elements: dict
      sample: [{kind: orphaned, path: 1/abc, detail: no row of the database names it, files: 2, bytes: 20}]
    quarantined:
      description: The same as RV(quarantined).
      type: dict
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.database import (
    DATABASE_OPTIONS,
    open_database,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import execute


def run(module: AnsibleModule) -> dict:
    """Move aside what is orphaned."""
    from mlflow_sftp.operations.audit import audit

    options = module.params
    with open_database(options) as database:
        found = audit(
            database,
            options["root"],
            store=options["store"],
            working_directory=options["working_directory"],
            quarantine=True,
            check=module.check_mode,
        ).as_dict()
    moved = found["quarantined"]
    diff = {
        "before": "".join(f"{path}\n" for path in moved),
        "after": "".join(f"{path}\n" for path in moved.values()),
    }
    return {"changed": bool(moved), "quarantined": moved, "audit": found, "diff": diff}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **DATABASE_OPTIONS,
            "root": {"type": "str", "required": True},
            "store": {"type": "str"},
            "working_directory": {"type": "str"},
        },
        supports_check_mode=True,
    )
    execute(module, lambda: run(module), "The quarantine failed")


if __name__ == "__main__":
    main()
