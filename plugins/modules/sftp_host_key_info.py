#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: the host keys an SSH server offers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sftp_host_key_info
short_description: Show the host keys an SSH server offers and whether they are trusted ones
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Asks a server for its host key of each type that it has, one connection each, and returns fingerprints and
    ready lines for C(known_hosts).
  - The module logs in nowhere and trusts nothing. A key that was only scanned is not verified.
    Compare its fingerprint with one that came over another channel.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
requirements:
  - paramiko >= 2.12
options:
  host:
    description:
      - Name the server is known by. It stands in the lines for C(known_hosts).
    type: str
    required: true
  port:
    description:
      - TCP port of the server.
    type: int
    default: 22
  address:
    description:
      - Name or IP address to connect to, if it is not O(host).
    type: str
  fingerprints:
    description:
      - Fingerprints of trusted keys, C(SHA256:...), as C(ssh-keygen -l) prints them.
      - Several are fine, for instance while a server's key is being replaced.
    type: list
    elements: str
    default: []
  key_types:
    description:
      - Types of keys to ask for.
    type: list
    elements: str
    choices: [ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ecdsa-sha2-nistp521, ssh-rsa]
    default: [ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ecdsa-sha2-nistp521, ssh-rsa]
  only_trusted:
    description:
      - Whether to stop as soon as every member of O(fingerprints) was found. Each further key costs a connection
        without a login, which servers may count as a failure.
    type: bool
    default: false
  timeout:
    description:
      - Seconds to wait for each step of a connection.
    type: float
    default: 10
seealso:
  - module: freegee.mlflow_sftp.sftp_check
"""

EXAMPLES = r"""
- name: See which keys the server offers
  freegee.mlflow_sftp.sftp_host_key_info:
    host: sftp.example.org
    port: 2121
    fingerprints: "{{ sftp_host_key_fingerprints }}"
  register: host_keys

- name: Stop if none of them is trusted
  ansible.builtin.assert:
    that: host_keys.trusted
"""

RETURN = r"""
host_keys:
  description: The keys offered, in the order of O(key_types).
  returned: success
  type: list
  elements: dict
  contains:
    type:
      description: Key type.
      type: str
      sample: ssh-ed25519
    fingerprint:
      description: SHA256 fingerprint.
      type: str
      sample: SHA256:0jvAKPBpZmIyiDR6MoB23bTi4V9n5mjQTxKe4TUfXXk
    public_key:
      description: Type and base64 blob.
      type: str
    known_hosts_line:
      description: Line for a C(known_hosts) file that OpenSSH, asyncssh and paramiko understand.
      type: str
      sample: "[sftp.example.org]:2121 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI..."
    trusted:
      description: Whether O(fingerprints) lists it.
      type: bool
trusted:
  description: Whether at least one key offered is listed in O(fingerprints).
  returned: success
  type: bool
unused_fingerprints:
  description: Members of O(fingerprints) that no key offered has.
  returned: success
  type: list
  elements: str
cause:
  description: Code of the cause, see C(docs/troubleshooting.md).
  returned: failure
  type: str
  sample: connection_refused
"""

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import KEY_TYPES, PublicKey

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import Endpoint
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.trust import scan

    PARAMIKO_ERROR = None
except ImportError:
    PARAMIKO_ERROR = traceback.format_exc()


def describe(key: PublicKey, endpoint: Endpoint, trusted: list[str]) -> dict[str, object]:
    """Return what the module says about one key."""
    public_key = f"{key.type} {key.blob}"
    return {
        "type": key.type,
        "fingerprint": key.fingerprint,
        "public_key": public_key,
        "known_hosts_line": f"{endpoint.known_hosts_name} {public_key}",
        "trusted": key.fingerprint in trusted,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 22},
            "address": {"type": "str"},
            "fingerprints": {"type": "list", "elements": "str", "default": []},
            "key_types": {
                "type": "list",
                "elements": "str",
                "choices": list(KEY_TYPES),
                "default": list(KEY_TYPES),
                "no_log": False,
            },
            "only_trusted": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    if PARAMIKO_ERROR:
        module.fail_json(msg=missing_required_lib("paramiko"), exception=PARAMIKO_ERROR)
    options = module.params
    endpoint = Endpoint(options["host"], options["port"], options["address"] or options["host"])
    try:
        enough = options["fingerprints"] if options["only_trusted"] else ()
        offered = scan(endpoint, options["key_types"], options["timeout"], enough)
    except DiagnosedError as error:
        known = error.with_facts({"host": endpoint.host, "port": endpoint.port, "address": endpoint.address})
        module.fail_json(
            msg=f"Cannot read the host keys of {endpoint.label}: {known}. {known.remedy}",
            cause=known.cause.code,
        )
    keys = [describe(key, endpoint, options["fingerprints"]) for key in offered]
    seen = {key.fingerprint for key in offered}
    module.exit_json(
        host_keys=keys,
        trusted=any(key["trusted"] for key in keys),
        unused_fingerprints=[pin for pin in options["fingerprints"] if pin not in seen],
    )


if __name__ == "__main__":
    main()
