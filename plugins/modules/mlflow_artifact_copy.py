#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: copy a tree of artifacts to another store, verified and resumable."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_artifact_copy
short_description: Copy artifacts between local directories and SFTP servers
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Copies every file below a directory to another one. Either is a local path or an C(sftp://) URI.
  - Each file appears at the destination under its name when it is complete, and is compared by SHA-256.
  - Files that are there already are compared and not copied again. Nothing is ever deleted.
  - A copy that was interrupted goes on where it ended when it is called again with the same O(manifest).
  - Runs where C(mlflow_sftp) is installed, such as in a container of the stack, and reaches SFTP servers as
    MLflow does, through the OpenSSH client configuration.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
attributes:
  check_mode:
    support: full
    details:
      - Both sides are listed and sizes compared. Whether files of one size are equal is not found out.
  diff_mode:
    support: full
    details:
      - Shows how many files and bytes the destination has of what is to be there.
  idempotent:
    support: full
options:
  src:
    description:
      - Directory to copy from, a path or C(sftp://) URI.
    type: str
    required: true
  dest:
    description:
      - Directory to copy to, a path or C(sftp://) URI. It is created if it does not exist.
    type: str
    required: true
  manifest:
    description:
      - File that remembers what was copied, with sizes and SHA-256.
    type: path
  include:
    description:
      - Directories below O(src) to keep to.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Directories below O(src) to leave out.
    type: list
    elements: str
    default: []
  for_mlflow:
    description:
      - Whether MLflow is to read O(dest) as its artifact root.
      - Its local store cannot read names with C(#) or an encoded character such as C(%41). Files that come from an
        SFTP server, where such names work, are then not copied to a local O(dest) but reported.
    type: bool
    default: false
  verify:
    description:
      - How to compare. V(sha256) reads every file back from the destination, or asks the server for the sum
        where it can tell. V(size) compares sizes.
    type: str
    choices: [sha256, size]
    default: sha256
  bandwidth:
    description:
      - Bytes a second to send at most. Reading back is not counted.
    type: int
  progress_file:
    description:
      - File to write about once a second with how far the copy is, as JSON with C(files), C(bytes),
        C(total_files), C(total_bytes), C(rate) (bytes a second), C(seconds) and C(seconds_left) (or null).
      - It is replaced as a whole, appears once both sides are listed, and stays with the last numbers. Not
        written in check mode.
    type: path
  strict:
    description:
      - Whether to fail if any file could not be copied, because it is unreadable or vanished.
    type: bool
    default: false
requirements:
  - mlflow-sftp
seealso:
  - module: freegee.mlflow_sftp.mlflow_artifact_relocate
  - module: freegee.mlflow_sftp.mlflow_storage_info
"""

EXAMPLES = r"""
- name: Copy to the SFTP server while MLflow goes on serving
  freegee.mlflow_sftp.mlflow_artifact_copy:
    src: /mlruns
    dest: sftp://me@sftp.example.org:2121/artifacts
    manifest: /mlflow/switch/manifest
  delegate_to: mlflow_container

- name: Copy in the background, and tell in a file how far it is
  freegee.mlflow_sftp.mlflow_artifact_copy:
    src: /mlruns
    dest: sftp://me@sftp.example.org:2121/artifacts
    manifest: /mlflow/switch/manifest
    progress_file: /mlflow/switch/progress.json
  async: 86400
  poll: 0
  delegate_to: mlflow_container

- name: Copy the rest, and require that nothing is left behind
  freegee.mlflow_sftp.mlflow_artifact_copy:
    src: /mlruns
    dest: sftp://me@sftp.example.org:2121/artifacts
    manifest: /mlflow/switch/manifest
    strict: true
  delegate_to: mlflow_container
"""

RETURN = r"""
total:
  description: Files and bytes below O(src).
  returned: success
  type: dict
  sample: {files: 120, bytes: 1048576}
copied:
  description: Files and bytes that were copied, or would be in check mode.
  returned: success
  type: dict
  sample: {files: 20, bytes: 524288}
equal:
  description: Files and bytes that were compared and found equal, or would be compared in check mode.
  returned: success
  type: dict
  sample: {files: 0, bytes: 0}
extra:
  description: Number of files at O(dest) that O(src) does not have. They are left alone.
  returned: success
  type: int
unreadable_names:
  description: Number of files that were not copied because of their name, see O(for_mlflow).
  returned: success, or failure because of O(strict=true)
  type: int
failed_files:
  description: Paths that could not be copied, with the reason.
  returned: success, or failure because of O(strict=true)
  type: dict
  sample: {1/abc/artifacts/x: permission denied}
seconds:
  description: How long it took.
  returned: success
  type: float
"""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import execute

if TYPE_CHECKING:
    from mlflow_sftp.operations.copy import CopyReport


def describe(report: CopyReport) -> dict:
    """Return the report as the module documents it."""
    result = report.as_dict()
    result["failed_files"] = result.pop("failed")
    total, copied = report.total, report.copied
    result["diff"] = {
        "before": f"{total.files - copied.files} files, {total.bytes - copied.bytes} bytes\n",
        "after": f"{total.files} files, {total.bytes} bytes\n",
    }
    return result


def run(module: AnsibleModule) -> dict:
    """Do what the options ask for."""
    from mlflow_sftp.operations.copy import copy
    from mlflow_sftp.operations.progress_file import ProgressFile

    options = module.params
    with contextlib.ExitStack() as stack:
        progress = {}
        if options["progress_file"] and not module.check_mode:
            file = ProgressFile(Path(options["progress_file"]))
            progress["on_progress"] = stack.enter_context(file)
        report = copy(
            options["src"],
            options["dest"],
            manifest=options["manifest"] and Path(options["manifest"]),
            include=tuple(options["include"]),
            exclude=tuple(options["exclude"]),
            for_mlflow=options["for_mlflow"],
            verify=options["verify"],
            bandwidth=options["bandwidth"],
            check=module.check_mode,
            **progress,
        )
    result = describe(report)
    if report.failed and options["strict"]:
        module.fail_json(msg=f"{len(report.failed)} files could not be copied, see failed_files", **result)
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "str", "required": True},
            "dest": {"type": "str", "required": True},
            "manifest": {"type": "path"},
            "include": {"type": "list", "elements": "str", "default": []},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "for_mlflow": {"type": "bool", "default": False},
            "verify": {"type": "str", "choices": ["sha256", "size"], "default": "sha256"},
            "bandwidth": {"type": "int"},
            "progress_file": {"type": "path"},
            "strict": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.params["bandwidth"] is not None and module.params["bandwidth"] <= 0:
        module.fail_json(msg="bandwidth must be above 0 bytes a second")
    execute(module, lambda: run(module), "Copying stopped", " What was copied until then is kept.")


if __name__ == "__main__":
    main()
