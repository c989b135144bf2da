#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: a directory on an SFTP server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sftp_directory
short_description: Create or remove a directory over SFTP
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Makes sure that a directory is, or is not, on an SFTP server, by SFTP alone. The far side needs neither
    Python nor a shell.
  - Asks about the directory itself and, as long as there is nothing, about those above it. Directories above
    the first one that is there, such as V(/), need not be visible.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.connection
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - The directory as SFTP shows it. A relative path starts where the login does.
    type: str
    required: true
  state:
    description:
      - Whether the directory should be there.
      - With V(absent), a directory that holds something is refused unless O(recurse=true).
    type: str
    choices: [present, absent]
    default: present
  mode:
    description:
      - Permissions of the directory, as an octal number in quotes.
      - A server that does not change permissions causes a warning.
    type: str
  parents:
    description:
      - Whether to create the directories above it.
    type: bool
    default: true
  recurse:
    description:
      - With O(state=absent), also remove everything below. Symbolic links are removed, not followed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Have the directory for artifacts
  freegee.mlflow_sftp.sftp_directory:
    host: sftp.example.org
    port: 2121
    user: freegee
    private_key_file: ~/.ssh/id_ed25519
    host_key_fingerprints: "{{ sftp_host_key_fingerprints }}"
    path: /agent.example.org/artifacts
    mode: "0750"
"""

RETURN = r"""
directory:
  description: The directory.
  returned: success
  type: str
created:
  description: Directories created, the outermost first.
  returned: success
  type: list
  elements: str
removed:
  description: What was removed.
  returned: success
  type: list
  elements: str
mode:
  description: Permissions of the directory afterwards; V(null) if it is gone or the server does not tell.
  returned: success
  type: str
  sample: "0750"
cause:
  description: Code of the cause, see C(docs/troubleshooting.md).
  returned: when the server could not be reached or logged in to
  type: str
"""

import stat
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.options import CONNECTION_OPTIONS

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp import files
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import (
        account_from_options,
    )
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import SftpClient, shown
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import sftp_session

    PARAMIKO_ERROR = None
except ImportError:
    PARAMIKO_ERROR = traceback.format_exc()


def octal(mode: int | None) -> str | None:
    """Return permission bits as Ansible writes them."""
    return None if mode is None else f"{mode:04o}"


def ensure_present(module: AnsibleModule, sftp: SftpClient, wanted: int | None) -> dict:
    """Make the directory and those above it, and set its permissions."""
    path = module.params["path"]
    missing = files.missing_directories(sftp, path)
    before = None if missing else files.permissions(sftp, path)
    if len(missing) > 1 and not module.params["parents"]:
        raise FileNotFoundError(f"{missing[0]} is not there, and parents is false")
    if not module.check_mode:
        missing = files.make_directories(sftp, missing)
    after = None if missing and module.check_mode else files.permissions(sftp, path)
    if wanted is not None and after != wanted:
        after = wanted
        if not module.check_mode and not files.set_permissions(sftp, path, wanted):
            after = files.permissions(sftp, path)
            module.warn(f"The server leaves {path} at mode {octal(after)} instead of {octal(wanted)}.")
    state = "directory" if not missing else "absent"
    return {
        "changed": bool(missing) or before != after,
        "created": missing,
        "removed": [],
        "mode": octal(after),
        "diff": {
            "before": {"path": path, "state": state, "mode": octal(before)},
            "after": {"path": path, "state": "directory", "mode": octal(after)},
        },
    }


def ensure_absent(module: AnsibleModule, sftp: SftpClient) -> dict:
    """Remove the directory, with what it holds only if told so."""
    path = module.params["path"]
    try:
        status = sftp.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"changed": False, "created": [], "removed": [], "mode": None}
    if files.kind_of(sftp, path, status) != stat.S_IFDIR or files.is_link(sftp, path):
        raise NotADirectoryError(path)
    below = [shown(found) for found, _ in files.tree(sftp, path)]
    if below and not module.params["recurse"]:
        raise OSError(f"it holds {len(below)} entries ({below[0]}, ...), and recurse is false")
    if not module.check_mode:
        files.remove_tree(sftp, path)
    return {
        "changed": True,
        "created": [],
        "removed": [*below, path],
        "mode": None,
        "diff": {
            "before": {"path": path, "state": "directory", "below": below},
            "after": {"path": path, "state": "absent"},
        },
    }


def wanted_mode(module: AnsibleModule) -> int | None:
    """Return the permission bits asked for."""
    text = module.params["mode"]
    if text is None:
        return None
    try:
        return int(text, 8) & 0o7777
    except ValueError:
        module.fail_json(msg=f"mode must be an octal number such as '0750', not '{text}'")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "path": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "mode": {"type": "str"},
            "parents": {"type": "bool", "default": True},
            "recurse": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if PARAMIKO_ERROR:
        module.fail_json(msg=missing_required_lib("paramiko"), exception=PARAMIKO_ERROR)
    path, state = module.params["path"], module.params["state"]
    doing = f"Cannot make {path} on {module.params['host']} {state}"
    mode = wanted_mode(module)
    try:
        with sftp_session(account_from_options(module.params)) as sftp:
            present = state == "present"
            result = ensure_present(module, sftp, mode) if present else ensure_absent(module, sftp)
    except DiagnosedError as error:
        module.fail_json(msg=f"{doing}: {error}. {error.remedy}", cause=error.cause.code)
    except NotADirectoryError as error:
        module.fail_json(msg=f"{doing}: {error} is there, and it is not a directory. Choose another path.")
    except OSError as error:
        module.fail_json(msg=f"{doing}: {error}")
    module.exit_json(directory=path, **result)


if __name__ == "__main__":
    main()
