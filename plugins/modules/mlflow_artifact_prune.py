#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: delete from a store what is proven to be at another one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_artifact_prune
short_description: Delete artifacts that a copy brought elsewhere
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Deletes files below O(src) of which one of the O(manifests) of copies says that they are at O(dest), with their
    SHA-256, and which both sides, read again just before, still have with that very SHA-256.
  - Keeps every directory that a row of MLflow's database leads to, and everything that no manifest has.
    Does not follow symbolic links.
  - Directories that became empty are removed, O(src) itself is not.
  - It may be interrupted at any time and called again.
  - Runs where C(mlflow_sftp) is installed, such as in a container of the stack.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.mlflow_database
attributes:
  check_mode:
    support: full
    details:
      - Both sides are read and compared just the same.
  diff_mode:
    support: full
    details:
      - Shows how many files O(src) has and keeps.
  idempotent:
    support: full
options:
  src:
    description:
      - Directory to delete from, a path or C(sftp://) URI, as it was given to the copy.
    type: str
    required: true
  dest:
    description:
      - Directory that has the copy, a path or C(sftp://) URI, as it was given to the copy.
    type: str
    required: true
  manifests:
    description:
      - Manifests of the copies from O(src) to O(dest), of which each may have brought a part.
    type: list
    elements: path
    required: true
  root:
    description:
      - How the database spells O(src), if it does so in another way.
    type: str
  working_directory:
    description:
      - Directory in which the MLflow server runs, if the database has relative locations.
    type: str
requirements:
  - mlflow-sftp
  - sqlalchemy >= 2
seealso:
  - module: freegee.mlflow_sftp.mlflow_artifact_copy
"""

EXAMPLES = r"""
- name: Free the space that the artifacts took before they were moved
  freegee.mlflow_sftp.mlflow_artifact_prune:
    src: /mlruns
    dest: sftp://me@sftp.example.org:2121/artifacts
    manifests: [/mlflow/switch/manifest]
  delegate_to: mlflow_container
"""

RETURN = r"""
deleted:
  description: Files and bytes that were deleted, or would be in check mode.
  returned: success
  type: dict
  sample: {files: 120, bytes: 1048576}
directories:
  description: Number of directories that were removed, or would be in check mode.
  returned: success
  type: int
kept_files:
  description: Number of files that stay below O(src).
  returned: success
  type: int
reasons:
  description: Number of files that stay, by why.
  returned: success
  type: dict
  sample: {a row of the database leads there: 2, no manifest has it: 1}
kept:
  description: The first hundred files that stay, with the reason.
  returned: success
  type: dict
  sample: {1/abc/artifacts/x: it has changed since it was copied}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.database import (
    DATABASE_OPTIONS,
    open_database,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import execute


def run(module: AnsibleModule) -> dict:
    """Delete what the options ask for."""
    from mlflow_sftp.operations.prune import prune

    options = module.params
    with open_database(options) as database:
        report = prune(
            options["src"],
            options["dest"],
            [Path(manifest) for manifest in options["manifests"]],
            database,
            root=options["root"],
            working_directory=options["working_directory"],
            check=module.check_mode,
        )
    before = report.kept_files + report.deleted.files
    diff = {"before": f"{before} files\n", "after": f"{report.kept_files} files\n"}
    return {**report.as_dict(), "diff": diff}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **DATABASE_OPTIONS,
            "src": {"type": "str", "required": True},
            "dest": {"type": "str", "required": True},
            "manifests": {"type": "list", "elements": "path", "required": True},
            "root": {"type": "str"},
            "working_directory": {"type": "str"},
        },
        supports_check_mode=True,
    )
    execute(
        module,
        lambda: run(module),
        "Pruning stopped",
        " Everything deleted until then is at the destination.",
    )


if __name__ == "__main__":
    main()
