#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: what keeps an account from logging in to the sshd of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sshd_account_info
short_description: Tell what in a host's sshd keeps an account from logging in with its keys
version_added: 0.1.0
author:
  - FreeGee engineering (@freegee)
description:
  - Reads sshd's effective configuration and what it depends on, on the host where sshd runs, and names each setting
    that is in the way of an account, which may be yet to be made; C(AllowUsers), C(AllowGroups), C(DenyUsers),
    C(DenyGroups), C(PubkeyAcceptedAlgorithms), directories that the account may not search, and where asked for the
    port and PAM's account rules.
  - Says as well how sshd is to be told of a changed configuration.
  - It logs in to nothing. M(freegee.mlflow_sftp.sftp_check) does.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  user:
    description:
      - The account.
    type: str
    required: true
  group:
    description:
      - Its primary group, as it is or will be.
    type: str
    required: true
  keys:
    description:
      - Public keys that are or will be authorized, C(type base64 [comment]).
    type: list
    elements: str
    default: []
  key_file:
    description:
      - File of authorized keys that sshd will read.
    type: path
    required: true
  settings:
    description:
      - Settings that must be in effect for the account, by their names in C(sshd_config).
    type: dict
    default: {}
  dropin:
    description:
      - File whose content sshd must have read, for RV(reload).
    type: path
  changed:
    description:
      - Whether O(dropin) was changed just now, where it cannot be told when sshd read its configuration.
    type: bool
    default: false
  port:
    description:
      - TCP port on which clients look for sshd. Without it, ports are not looked at.
    type: int
  address:
    description:
      - Where a client connects from. With it, PAM's account rules are run for the account, which must exist, as at a
        login; what they record or start then, they record or start.
      - Without it, lists of users, groups and algorithms are only judged where no C(Match) block of sshd's asks for
        the client's address.
    type: str
  log_seconds:
    description:
      - How far back sshd's log is searched for RV(log). V(0) leaves it out.
    type: int
    default: 0
  sshd:
    description:
      - The program.
    type: path
    default: /usr/sbin/sshd
"""

EXAMPLES = r"""
- name: Find settings of sshd that keep the account out
  freegee.mlflow_sftp.sshd_account_info:
    user: freegee
    group: freegee
    keys: ["{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"]
    key_file: /etc/ssh/sftp_authorized_keys/freegee
  register: account

- name: Require that nothing keeps the account out
  ansible.builtin.assert:
    that: account.refusal == ''
    fail_msg: "{{ account.refusal }}"
"""

RETURN = r"""
refusal:
  description: What is in the way and what to do, in words. Empty if nothing is.
  returned: success
  type: str
causes:
  description: Codes of the causes, see C(docs/troubleshooting.md).
  returned: success
  type: list
  elements: str
  sample: [sshd_account_refused]
reload:
  description: How sshd is to read O(dropin).
  returned: success
  type: dict
  contains:
    how:
      description:
        - V(service) through its service, V(signal) by SIGHUP. V(none) where sshd has read it, or reads it with the next
          connection.
      type: str
    unit:
      description: The service.
      type: str
    pid:
      description: The process.
      type: int
host_key_fingerprints:
  description: SHA256 fingerprints of sshd's host keys.
  returned: success
  type: list
  elements: str
log:
  description: The last lines of sshd's log that name the account.
  returned: success
  type: list
  elements: str
"""

import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sshd import configuration, host, pam


def configuration_refusals(options: dict) -> list[DiagnosedError]:
    """Return why sshd as a whole cannot be worked with."""
    fault = host.configuration_fault(options["sshd"])
    if fault:
        return [DiagnosedError("sshd_configuration_invalid", fault)]
    if not host.reads_dropins():
        return [
            DiagnosedError(
                "sshd_dropins_unread", "no Include of /etc/ssh/sshd_config.d/*.conf in sshd_config"
            )
        ]
    return []


def account_refusals(options: dict, settings: configuration.Settings, known: list) -> list[DiagnosedError]:
    """Return what is in the way of the account."""
    user = options["user"]
    candidate = host.candidate(user, options["group"], options["keys"])
    lacking = configuration.lacking(settings, options["settings"])
    found: list[DiagnosedError | None] = [host.keys_refusal(Path(options["key_file"]), user)]
    if options["address"] or not host.depends_on_client():
        found += configuration.access_refusals(settings, candidate)
        found.append(configuration.algorithm_refusal(settings, candidate))
    if lacking:
        found.append(
            DiagnosedError("sshd_settings_overridden", f"not in effect: {'; '.join(lacking)}", user=user)
        )
    if options["port"]:
        found.append(configuration.port_refusal(settings, options["port"], host.listener(known)))
    if options["address"] and settings.get("usepam") == ["yes"] and host.exists(user):
        with tempfile.TemporaryDirectory() as scratch:
            found.append(pam.account_refusal(user, options["address"], Path(scratch)))
    return [refusal for refusal in found if refusal is not None]


def reload_of(options: dict, settings: configuration.Settings, known: list) -> configuration.Reload:
    """Return how sshd is to read the drop-in."""
    dropin = Path(options["dropin"] or "/nonexistent")
    if not dropin.exists():
        return configuration.Reload("none")
    pid, read = host.master(settings, options["sshd"])
    is_stale = None if read is None else dropin.stat().st_mtime > read
    return configuration.reload_for(known, pid, is_stale, options["changed"])


def look(options: dict) -> dict:
    """Return what the module returns."""
    invalid = configuration_refusals(options)
    address = options["address"] or "127.0.0.1"
    text = "" if invalid else host.effective_settings(options["sshd"], options["user"], address)
    settings = configuration.parse(text)
    known = host.units()
    refusals = invalid or account_refusals(options, settings, known)
    reload = reload_of(options, settings, known)
    seconds = options["log_seconds"]
    return {
        "refusal": " ".join(f"{refusal}. {refusal.remedy}" for refusal in refusals),
        "causes": [refusal.cause.code for refusal in refusals],
        "reload": {"how": reload.how, "unit": reload.unit, "pid": reload.pid},
        "host_key_fingerprints": host.host_keys(settings),
        "log": host.log_of(options["user"], seconds) if seconds else [],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "key_file": {"type": "path", "required": True, "no_log": False},
            "settings": {"type": "dict", "default": {}},
            "dropin": {"type": "path"},
            "changed": {"type": "bool", "default": False},
            "port": {"type": "int"},
            "address": {"type": "str"},
            "log_seconds": {"type": "int", "default": 0},
            "sshd": {"type": "path", "default": "/usr/sbin/sshd"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**look(module.params))
    except OSError as error:
        module.fail_json(msg=f"Cannot read what applies to {module.params['user']} in sshd: {error}")


if __name__ == "__main__":
    main()
