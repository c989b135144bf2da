#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: what keeps an account from being made on this host, and from logging in to its sshd."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sshd_account_info
short_description: Tell what on a host keeps an account from being made, and from logging in with its keys
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Reads sshd's effective configuration and what it depends on, on the host where sshd runs, and names each setting
    that is in the way of an account, which may be yet to be made; C(AllowUsers), C(AllowGroups), C(DenyUsers),
    C(DenyGroups), C(PubkeyAcceptedAlgorithms), directories that the account may not search, and where asked for the
    port and PAM's account rules.
  - Judges as well whether the account, its directories and its files may be made where they are yet to be made, and
    what of them is there already as it must be.
  - Says how sshd is to be told of a changed configuration, and what applies to other accounts.
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
  provision:
    description:
      - What a run is about to make or keep. With it, O(user), O(group), O(keys) and the paths in it are checked first,
        and nothing on the host is looked at if one of them cannot be used.
    type: dict
    suboptions:
      comment:
        description:
          - Comment in passwd by which an account is known to be the run's. One with another comment is refused.
        type: str
        required: true
      home:
        description:
          - Home in passwd.
        type: str
        required: true
      shell:
        description:
          - Shell in passwd.
        type: str
        required: true
      chroot:
        description:
          - Directory that is C(/) for the account.
        type: str
        required: true
      path:
        description:
          - Directory of the artifacts, as SFTP shows it.
        type: str
        required: true
      administrators:
        description:
          - Accounts by which the host is administered, beside C(root) and who became root.
        type: list
        elements: str
        default: []
      marks:
        description:
          - Texts of which at least one is in a file that a run has written.
        type: list
        elements: str
        default: []
      directories:
        description:
          - The directories that must be there, for RV(lacking).
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description:
              - The directory.
            type: str
            required: true
          owner:
            description:
              - Name of its owner.
            type: str
            required: true
          group:
            description:
              - Name of its group.
            type: str
            required: true
          mode:
            description:
              - Its permissions, octal.
            type: str
            required: true
  others:
    description:
      - Whether to return what applies to the other accounts, RV(others).
    type: bool
    default: false
  others_before:
    description:
      - What RV(others) was before O(dropin) was written. What differs now is a finding.
    type: dict
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
    that: account.findings | length == 0
    fail_msg: "{{ account.findings | join(' ') }}"
"""

RETURN = r"""
findings:
  description: What is in the way and what to do, each in words. Empty if nothing is.
  returned: success
  type: list
  elements: str
causes:
  description: Codes of the causes of those findings that have one, see C(docs/troubleshooting.md).
  returned: success
  type: list
  elements: str
  sample: [sshd_account_refused]
sshd:
  description:
    - Whether sshd is C(absent), C(unprepared) where its privilege separation directory is missing, or C(ready), so that
      it can tell its settings.
  returned: success
  type: str
lacking:
  description: The account and directories of O(provision) that are not there as they must be.
  returned: success
  type: list
  elements: str
files:
  description: The files O(dropin) and O(key_file).
  returned: success
  type: dict
  contains:
    dropin: &file
      description: The file.
      type: dict
      contains:
        content:
          description: What is in it, in base64; null if it is not there.
          type: str
        text:
          description: What is in it, as text.
          type: str
        is_protected:
          description: Whether it belongs to root and has the mode 0644.
          type: bool
    key_file: *file
others:
  description:
    - What applies to each other local account that has a shell. Null where sshd cannot tell, and without O(others).
  returned: success
  type: dict
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

import base64
import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.account import account_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sshd import (
    configuration,
    host,
    ownership,
    pam,
)

_PROTECTED = ("root", "root", 0o644)


def input_problems(options: dict, is_check: bool) -> list[str]:
    """Return what is wrong with the values that are given. In check mode the key may be yet to be made."""
    provision = options["provision"]
    if not provision:
        return []
    return account_problems(
        options["user"],
        options["group"],
        provision["chroot"],
        provision["path"],
        options["keys"],
        needs_key=not is_check,
    )


def plan_of(options: dict) -> ownership.Plan:
    """Return what is to be made."""
    provision = options["provision"]
    wanted = [
        ownership.Wanted(each["path"], each["owner"], each["group"], int(each["mode"], 8))
        for each in provision["directories"]
    ]
    texts = {name: provision[name] for name in ("comment", "home", "shell", "chroot", "path")}
    return ownership.Plan(
        user=options["user"],
        group=options["group"],
        administrators=frozenset({*provision["administrators"], os.environ.get("SUDO_USER", "root")}),
        directories=tuple(wanted),
        **texts,
    )


def look_at_ownership(options: dict) -> tuple[list[str], list[str]]:
    """Return why the account may not be made, and what of it is lacking."""
    if not options["provision"]:
        return [], []
    plan = plan_of(options)
    account = host.account(plan.user)
    entries = host.entries(plan.looked_at)
    marks = [mark.encode() for mark in options["provision"]["marks"]]
    contents = {file: host.content(Path(file)) for file in (options["dropin"], options["key_file"]) if file}
    strange = [
        file
        for file, content in contents.items()
        if content is not None and not any(mark in content for mark in marks)
    ]
    return ownership.findings(plan, account, entries, strange), ownership.lacking(plan, account, entries)


def describe(file: str | None) -> dict:
    """Return what is in a file, and whether only root can change it."""
    content = host.content(Path(file)) if file else None
    if file is None or content is None:
        return {"content": None, "text": "", "is_protected": False}
    entry = host.entries([file]).get(file)
    return {
        "content": base64.b64encode(content).decode(),
        "text": content.decode(errors="backslashreplace"),
        "is_protected": entry is not None and (entry.owner, entry.group, entry.mode) == _PROTECTED,
    }


def configuration_refusals(verdict: host.Verdict) -> list[DiagnosedError]:
    """Return why sshd as a whole cannot be worked with."""
    if verdict.fault:
        return [DiagnosedError("sshd_configuration_invalid", verdict.fault)]
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
    if options["address"] and settings.get("usepam") == ["yes"] and host.account(user):
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


def compare_others(options: dict, others: dict[str, str] | None) -> list[str]:
    """Return the finding that other accounts have other settings now."""
    before = options["others_before"]
    changed = ownership.changed_settings(before, others) if before is not None and others is not None else []
    if not changed:
        return []
    return [f"The drop-in would change what applies to other accounts: {'; '.join(changed)}."]


def look_at_sshd(options: dict, verdict: host.Verdict) -> dict:
    """Return what sshd has to do with the account."""
    invalid = configuration_refusals(verdict)
    address = options["address"] or "127.0.0.1"
    text = "" if invalid else host.effective_settings(options["sshd"], options["user"], address)
    settings = configuration.parse(text)
    known = host.units()
    refusals = invalid or account_refusals(options, settings, known)
    reload = reload_of(options, settings, known)
    is_asked = options["others"] or options["others_before"] is not None
    others = host.other_settings(options["sshd"], options["user"]) if is_asked and verdict.is_ready else None
    return {
        "findings": [f"{refusal}. {refusal.remedy}" for refusal in refusals]
        + compare_others(options, others),
        "causes": [refusal.cause.code for refusal in refusals],
        "sshd": "ready" if verdict.is_ready or verdict.fault else "unprepared",
        "others": others,
        "reload": {"how": reload.how, "unit": reload.unit, "pid": reload.pid},
        "host_key_fingerprints": host.host_keys(settings),
    }


def absent_sshd(options: dict) -> dict:
    """Return the same where there is no sshd."""
    installable = options["provision"] and host.installs_with_apt()
    sentence = (
        f"The server has no {options['sshd']}, and the role installs one with apt only. Install and start OpenSSH's "
        "server there (openssh-server, openssh)."
    )
    return {**_NOTHING, "findings": [] if installable else [sentence]}


_NOTHING = {
    "findings": [],
    "causes": [],
    "sshd": "absent",
    "lacking": [],
    "others": None,
    "reload": {"how": "none", "unit": "", "pid": 0},
    "host_key_fingerprints": [],
    "log": [],
}


def look(options: dict, is_check: bool) -> dict:
    """Return what the module returns."""
    files = {name: describe(options[name]) for name in ("dropin", "key_file")}
    problems = input_problems(options, is_check)
    if problems:
        return {**_NOTHING, "findings": problems, "files": files}
    findings, lacking = look_at_ownership(options)
    is_there = Path(options["sshd"]).exists()
    found = (
        look_at_sshd(options, host.check_configuration(options["sshd"])) if is_there else absent_sshd(options)
    )
    seconds = options["log_seconds"]
    return {
        **found,
        "findings": findings + found["findings"],
        "lacking": lacking,
        "files": files,
        "log": host.log_of(options["user"], seconds) if seconds else [],
    }


_TEXT = {"type": "str", "required": True}
PROVISION = {
    **dict.fromkeys(("comment", "home", "shell", "chroot", "path"), _TEXT),
    "administrators": {"type": "list", "elements": "str", "default": []},
    "marks": {"type": "list", "elements": "str", "default": []},
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": dict.fromkeys(("path", "owner", "group", "mode"), _TEXT),
    },
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
            "provision": {"type": "dict", "options": PROVISION},
            "others": {"type": "bool", "default": False},
            # Long, and nothing for the system's log.
            "others_before": {"type": "dict", "no_log": True},
            "port": {"type": "int"},
            "address": {"type": "str"},
            "log_seconds": {"type": "int", "default": 0},
            "sshd": {"type": "path", "default": "/usr/sbin/sshd"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**look(module.params, module.check_mode))
    except OSError as error:
        module.fail_json(msg=f"Cannot read what applies to {module.params['user']} in sshd: {error}")


if __name__ == "__main__":
    main()
