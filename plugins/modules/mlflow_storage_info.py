#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: what MLflow's database and an artifact store hold, and whether they agree."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_storage_info
short_description: Count what MLflow's database and an artifact store hold
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Counts experiments, runs, models and traces, and tells to which places their artifact locations lead.
  - Counts the files and bytes of an artifact store, and tells how much space is free there.
  - Compares both with O(audit=true).
  - Runs where C(mlflow_sftp) is installed, such as in a container of the stack.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.mlflow_database
options:
  count_database:
    description:
      - Whether to look at the database as well as at O(store). It is looked at anyway if O(database) is given,
        O(store) is not, or with O(audit=true).
    type: bool
    default: false
  store:
    description:
      - Artifact store to look at, a path or C(sftp://) URI.
    type: str
  audit:
    description:
      - Whether to compare database and store. Needs a database, and O(root) or O(store).
    type: bool
    default: false
  root:
    description:
      - The artifact root as the database spells it, if it is not O(store), such as C(mlflow-artifacts:/).
    type: str
  manifest:
    description:
      - Manifest of a copy to the store, to compare the size of every file in the audit.
    type: path
requirements:
  - mlflow-sftp
  - sqlalchemy >= 2, to read the database
seealso:
  - module: freegee.mlflow_sftp.mlflow_artifact_copy
  - module: freegee.mlflow_sftp.mlflow_artifact_relocate
"""

EXAMPLES = r"""
- name: Look at both, at the server's own database
  freegee.mlflow_sftp.mlflow_storage_info:
    store: sftp://me@sftp.example.org:2121/artifacts
    audit: true
  delegate_to: mlflow_container
  register: storage

- name: Require that nothing is missing
  ansible.builtin.assert:
    that: storage.audit.counts.missing is not defined
"""

RETURN = r"""
database:
  description: What the database holds.
  returned: if the database was looked at
  type: dict
  contains:
    database:
      description: Its URI.
      type: str
    counts:
      description: Rows of each table, in all and by lifecycle stage.
      type: dict
      sample: {runs: {total: 3, active: 2, deleted: 1}}
    places:
      description: Where locations lead, most used first, with the path they have in common.
      type: list
      elements: dict
      sample: [{place: "sftp://me@sftp.example.org:2121", path: /artifacts, locations: 12}]
store:
  description: What the store holds.
  returned: with O(store)
  type: dict
  contains:
    store:
      description: Its path or URI.
      type: str
    exists:
      description: Whether there is such a directory.
      type: bool
    files:
      description: Number of files.
      type: int
    bytes:
      description: Their size in bytes.
      type: int
    free_bytes:
      description: Free space in bytes, null if the server does not tell.
      type: int
    unreadable:
      description: What cannot be listed, with the reason.
      type: dict
audit:
  description: Where database and store disagree.
  returned: with O(audit=true)
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
      description: Always empty, see M(freegee.mlflow_sftp.mlflow_artifact_quarantine).
      type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.database import (
    DATABASE_OPTIONS,
    open_database,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import execute


def gather(module: AnsibleModule) -> dict:
    """Return what the options ask for."""
    from mlflow_sftp.operations.audit import audit
    from mlflow_sftp.operations.database_inventory import database_info
    from mlflow_sftp.operations.store_inventory import store_info

    options = module.params
    result: dict = {"changed": False}
    if options["store"]:
        result["store"] = store_info(options["store"])
    if options["store"] and not (options["database"] or options["count_database"] or options["audit"]):
        return result
    with open_database(options) as database:
        result["database"] = database_info(database)
        if options["audit"]:
            root = options["root"] or options["store"]
            manifest = options["manifest"] and Path(options["manifest"])
            found = audit(database, root, store=options["store"], manifest=manifest)
            result["audit"] = found.as_dict()
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **DATABASE_OPTIONS,
            "count_database": {"type": "bool", "default": False},
            "store": {"type": "str"},
            "audit": {"type": "bool", "default": False},
            "root": {"type": "str"},
            "manifest": {"type": "path"},
        },
        required_if=[("audit", True, ["root", "store"], True)],
        supports_check_mode=True,
    )
    execute(module, lambda: gather(module), "Looking at the storage failed")


if __name__ == "__main__":
    main()
