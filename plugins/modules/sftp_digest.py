#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: sizes and checksums of files as an SFTP server holds them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sftp_digest
short_description: Read files back over SFTP and compare their SHA-256
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Reads every regular file below a directory of an SFTP server completely and returns its size and SHA-256.
  - Symbolic links are not followed.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.connection
options:
  path:
    description:
      - Directory, as SFTP shows it.
    type: str
    required: true
  expected:
    description:
      - What should be there, a mapping of path relative to O(path) to hexadecimal SHA-256.
      - The task fails if files are missing, differ, or are not in the mapping.
    type: dict
"""

EXAMPLES = r"""
- name: Prove that a run's artifacts are on the server
  freegee.mlflow_sftp.sftp_digest:
    host: sftp.example.org
    port: 2121
    user: freegee
    private_key_file: ~/.ssh/id_ed25519
    host_key_fingerprints: "{{ sftp_host_key_fingerprints }}"
    path: "{{ roundtrip.artifact_uri | urlsplit('path') | urldecode }}"
    expected: "{{ roundtrip.files | items2dict(key_name='path', value_name='sha256') }}"
"""

RETURN = r"""
files:
  description: The files below O(path), sorted by path.
  returned: when the directory could be read
  type: list
  elements: dict
  contains:
    path:
      description: Path relative to O(path).
      type: str
    size:
      description: Size in bytes.
      type: int
    sha256:
      description: Hexadecimal SHA-256 of the content.
      type: str
differences:
  description: Paths that are V(missing), V(changed) or V(unexpected).
  returned: when O(expected) is given and the directory could be read
  type: dict
cause:
  description: Code of the cause, see C(docs/troubleshooting.md).
  returned: when the server could not be read
  type: str
"""

import traceback
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.options import CONNECTION_OPTIONS

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import (
        account_from_options,
    )
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.digest import compare, digest_tree
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import sftp_session

    PARAMIKO_ERROR = None
except ImportError:
    PARAMIKO_ERROR = traceback.format_exc()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "path": {"type": "str", "required": True},
            "expected": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    if PARAMIKO_ERROR:
        module.fail_json(msg=missing_required_lib("paramiko"), exception=PARAMIKO_ERROR)
    path = module.params["path"]
    where = f"{path} on {module.params['host']}"
    try:
        with sftp_session(account_from_options(module.params)) as sftp:
            files = digest_tree(sftp, path)
    except DiagnosedError as error:
        module.fail_json(msg=f"Cannot read {where}: {error}. {error.remedy}", cause=error.cause.code)
    except OSError as error:
        module.fail_json(msg=f"Cannot read {where}: {error}. Check the path and its permissions.")
    result = {"files": [asdict(file) for file in files]}
    if module.params["expected"] is not None:
        differences = compare(files, module.params["expected"])
        result["differences"] = asdict(differences)
        if differences:
            module.fail_json(msg=f"The files below {where} are not those expected: {differences}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
