#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: check an SFTP account stage by stage."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sftp_check
short_description: Check an SFTP account stage by stage and name the cause of a failure
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Resolves the name, connects, reads the greeting, checks the host key, logs in, opens SFTP, looks at a
    directory, writes, reads back, replaces and deletes a small file there, and measures the line.
  - Stops at the first stage that fails and says what was seen and what to change.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.connection
attributes:
  check_mode:
    support: full
    details:
      - In check mode no file is written. The stages that need one are reported as skipped.
  diff_mode:
    support: N/A
    details:
      - Nothing is left changed.
  idempotent:
    support: full
options:
  path:
    description:
      - Directory to check, as SFTP shows it. Without it the check ends after the login.
    type: str
  write_probe:
    description:
      - Whether to write a file of O(probe_size) into O(path). It is removed again.
    type: bool
    default: true
  probe_size:
    description:
      - Size in bytes of the file to write. From V(1000000) on the throughput is measured as well.
    type: int
    default: 65536
  public_keys:
    description:
      - Public keys, C(type base64 [comment]). Where there is no private key, the server is asked whether each of these
        may log in, and the check ends there, with RV(logged_in) V(false).
      - Some servers, such as ProFTPD, say yes to every key until they see its proof. Only a login proves one there.
    type: list
    elements: str
    default: []
  fail_on_error:
    description:
      - Whether the task fails when a stage does. With V(false), look at RV(ok).
    type: bool
    default: true
seealso:
  - module: freegee.mlflow_sftp.sftp_host_key_info
  - module: freegee.mlflow_sftp.mlflow_artifact_roundtrip
"""

EXAMPLES = r"""
- name: Check the account from the controller
  freegee.mlflow_sftp.sftp_check:
    host: sftp.example.org
    port: 2121
    user: freegee
    private_key_file: ~/.ssh/id_ed25519
    host_key_fingerprints: "{{ sftp_host_key_fingerprints }}"
    path: /agent.example.org/artifacts

- name: Check it as a container sees it, and go on if it fails
  freegee.mlflow_sftp.sftp_check:
    host: sftp.example.org
    ssh_config_file: ~/.ssh/config
    path: /agent.example.org/artifacts
    fail_on_error: false
  delegate_to: mlflow_container
  register: check
"""

RETURN = r"""
ok:
  description: Whether no stage failed.
  returned: always
  type: bool
logged_in:
  description: Whether a login was made and SFTP opened.
  returned: always
  type: bool
client_address:
  description: The address that the connection came from, on the side of the client. Empty if there was none.
  returned: always
  type: str
stages:
  description: All stages, in order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the stage.
      type: str
      sample: host_key
    status:
      description:
        - One of V(ok), V(warning), V(failed) and V(skipped).
        - A warning names something that does not keep artifacts from being stored.
      type: str
    seconds:
      description: How long it took.
      type: float
    detail:
      description: What was seen. For a skipped stage, why it was skipped.
      type: str
    cause:
      description: Code of the cause, see C(docs/troubleshooting.md). V(null) unless there is a problem.
      type: str
      sample: host_key_changed
    meaning:
      description: The cause in words.
      type: str
    remedy:
      description: What to change.
      type: str
cause:
  description: Code of the cause of the failure.
  returned: when a stage failed
  type: str
remedy:
  description: What to change.
  returned: when a stage failed
  type: str
msg:
  description: The failure in one paragraph.
  returned: when a stage failed
  type: str
"""

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import (
    PublicKey,
    is_public_key,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.options import CONNECTION_OPTIONS

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.check import (
        CheckOptions,
        check_account,
    )

    PARAMIKO_ERROR = None
except ImportError:
    PARAMIKO_ERROR = traceback.format_exc()


def why_no_probe(module: AnsibleModule) -> str | None:
    """Return why no file may be written, if so."""
    if not module.params["write_probe"]:
        return "write_probe is false"
    return "check mode: nothing is written" if module.check_mode else None


def public_keys(module: AnsibleModule) -> tuple[PublicKey, ...]:
    """Read the keys to ask about."""
    fields = [text.split() for text in module.params["public_keys"]]
    if not all(len(each) > 1 and is_public_key(each[1]) for each in fields):
        module.fail_json(msg="public_keys holds something that is not 'type base64 [comment]'")
    return tuple(PublicKey(*each[:2]) for each in fields)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "path": {"type": "str"},
            "write_probe": {"type": "bool", "default": True},
            "probe_size": {"type": "int", "default": 65536},
            "public_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "fail_on_error": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if PARAMIKO_ERROR:
        module.fail_json(msg=missing_required_lib("paramiko"), exception=PARAMIKO_ERROR)
    options = module.params
    report = check_account(
        options,
        CheckOptions(options["path"], options["probe_size"], why_no_probe(module), public_keys(module)),
    )
    if not report["ok"] and options["fail_on_error"]:
        module.fail_json(**report)
    module.exit_json(**report)


if __name__ == "__main__":
    main()
