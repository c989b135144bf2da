#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: a public key that may log in to an SFTP account."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sftp_authorized_key
short_description: Authorize a public key on an SFTP account, over SFTP
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Adds a public key to, or removes it from, the file of authorized keys of the account that it logs in to.
    The far side needs neither Python nor a shell.
  - Everything else in the file stays byte for byte. The new content is written to a temporary name and
    renamed, so that the file is always the old or the new one. Where somebody else has changed the file meanwhile, it
    is read anew.
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
  key:
    description:
      - The public key, C(type base64 [comment]).
    type: str
    required: true
  state:
    description:
      - Whether the key should be authorized.
    type: str
    choices: [present, absent]
    default: present
  key_options:
    description:
      - Options in front of the key, such as V(restrict,from="192.0.2.0/24"). An empty text stands for none.
      - Without this, options that are there are kept. Files in RFC 4716 format know none.
    type: str
  exclusive:
    description:
      - Whether to remove all other keys. Comments stay.
    type: bool
    default: false
  path:
    description:
      - File of authorized keys, as SFTP shows it. A relative path starts where the login does.
    type: str
    default: .ssh/authorized_keys
  file_format:
    description:
      - Format of the file. V(openssh) has a key a line. V(rfc4716) is what ProFTPD's mod_sftp reads.
      - With V(auto), the server decides, as far as its greeting names it, then what the file holds. Where neither
        tells, the key is written in both formats. Each kind of server passes over what is in the other one.
    type: str
    choices: [auto, openssh, rfc4716]
    default: auto
  allow_lockout:
    description:
      - Whether the key that this task logs in with may be removed.
    type: bool
    default: false
notes:
  - A new file gets mode 0600 and a new directory 0700, where the server changes permissions. Those of others
    are corrected only if group or others may write, which sshd refuses.
  - On a server that can neither replace a file when it renames nor knows C(posix-rename@openssh.com), the old
    file is moved aside first.
seealso:
  - module: ansible.posix.authorized_key
    description: For hosts that are logged in to with a shell.
"""

EXAMPLES = r"""
- name: First contact, with the password from the vault
  freegee.mlflow_sftp.sftp_authorized_key:
    host: sftp.example.org
    port: 2121
    user: freegee
    password: "{{ vault_sftp_password }}"
    host_key_fingerprints: "{{ sftp_host_key_fingerprints }}"
    key: "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
    key_options: restrict
"""

RETURN = r"""
file:
  description: The file of authorized keys.
  returned: success
  type: str
file_format:
  description: The format of the key in it, V(both) where neither server nor file told.
  returned: success
  type: str
fingerprint:
  description: Fingerprint of the key.
  returned: success
  type: str
cause:
  description: Code of the cause, see C(docs/troubleshooting.md).
  returned: when the server could not be reached or logged in to
  type: str
"""

import posixpath
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys import authorized_keys as authorized
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import (
    PublicKey,
    is_public_key,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.options import CONNECTION_OPTIONS

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp import files
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import (
        account_from_options,
    )
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import SftpClient
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.login import login_keys
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import sftp_session

    PARAMIKO_ERROR = None
except ImportError:
    PARAMIKO_ERROR = traceback.format_exc()

_WRITABLE_BY_OTHERS = 0o022
# How often a file is read anew that somebody else changes at the same time.
_TRIES = 5


def wanted_key(module: AnsibleModule) -> authorized.WantedKey:
    """Read the key from the options."""
    fields = module.params["key"].split(None, 2)
    if len(fields) < 2 or not is_public_key(fields[1]):
        expected = "expected 'type base64 [comment]', the content of a .pub file"
        module.fail_json(msg=f"key is no public key; {expected}")
    key = PublicKey(*fields[:2])
    comment = fields[2].strip() if len(fields) > 2 else ""
    return authorized.WantedKey(key, comment, module.params["key_options"])


def edited(
    module: AnsibleModule, content: bytes, formats: tuple[str, ...], wanted: authorized.WantedKey
) -> bytes:
    """Return what the file should hold."""
    if module.params["state"] == "absent":
        return authorized.remove(content, wanted.key.blob)
    for file_format in formats:
        content = authorized.add(content, file_format, wanted)
    if module.params["exclusive"]:
        return authorized.keep_only(content, wanted.key.blob)
    return content


def ensure_among_others(
    module: AnsibleModule, sftp: SftpClient, protected: set[str], wanted: authorized.WantedKey
) -> dict:
    """Bring the file into the state asked for, and keep what somebody else changes at the same time."""
    for _ in range(_TRIES - 1):
        try:
            return ensure(module, sftp, protected, wanted)
        except files.FileChangedError:
            continue
    return ensure(module, sftp, protected, wanted)


def ensure(
    module: AnsibleModule, sftp: SftpClient, protected: set[str], wanted: authorized.WantedKey
) -> dict:
    """Bring the file into the state asked for."""
    path = module.params["path"]
    directory = posixpath.dirname(path)
    missing = files.missing_directories(sftp, directory)
    before = None if missing else files.read_file(sftp, path)
    # A link is kept, and what it points to replaced.
    place = path if before is None else sftp.normalize(path)
    content = before or b""
    asked = module.params["file_format"]
    formats = authorized.formats_for(content, sftp.server_banner) if asked == "auto" else (asked,)
    after = edited(module, content, formats, wanted)
    lost = protected & authorized.blobs(content, formats) - authorized.blobs(after, formats)
    if lost and not module.params["allow_lockout"]:
        raise OSError(
            "the key that this task logs in with would be removed; set allow_lockout if this is meant"
        )
    rewrite = after != content
    if not module.check_mode and rewrite:
        for parent in files.make_directories(sftp, missing):
            files.set_permissions(sftp, parent, 0o700)
        files.replace_file(sftp, place, before, after, 0o600)
    tightened = [] if missing else tighten(module, sftp, {directory: 0o700, place: 0o600})
    return {
        "changed": rewrite or bool(tightened),
        "file_format": formats[0] if len(formats) == 1 else "both",
        "diff": {
            "before_header": place,
            "after_header": place,
            "before": content.decode("utf-8", "replace"),
            "after": after.decode("utf-8", "replace"),
        },
    }


def tighten(module: AnsibleModule, sftp: SftpClient, modes: dict[str, int]) -> list[str]:
    """Take away write permission of others, for which sshd would refuse the file."""
    tightened = []
    for path, mode in modes.items():
        if not path or not (files.permissions(sftp, path) or 0) & _WRITABLE_BY_OTHERS:
            continue
        if module.check_mode or files.set_permissions(sftp, path, mode):
            tightened.append(path)
        else:
            module.warn(f"{path} can be written by others, and the server does not change that.")
    return tightened


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "key": {"type": "str", "required": True, "no_log": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "key_options": {"type": "str", "no_log": False},
            "exclusive": {"type": "bool", "default": False},
            "path": {"type": "str", "default": ".ssh/authorized_keys"},
            "file_format": {"type": "str", "choices": ["auto", "openssh", "rfc4716"], "default": "auto"},
            "allow_lockout": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if PARAMIKO_ERROR:
        module.fail_json(msg=missing_required_lib("paramiko"), exception=PARAMIKO_ERROR)
    wanted = wanted_key(module)
    path = module.params["path"]
    where = f"{path} on {module.params['host']}"
    doing = f"Cannot make key {wanted.key.fingerprint} {module.params['state']} in {where}"
    try:
        account = account_from_options(module.params)
        with sftp_session(account) as sftp:
            result = ensure_among_others(module, sftp, login_keys(account), wanted)
    except DiagnosedError as error:
        module.fail_json(msg=f"{doing}: {error}. {error.remedy}", cause=error.cause.code)
    except OSError as error:
        module.fail_json(msg=f"{doing}: {error}")
    module.exit_json(file=path, fingerprint=wanted.key.fingerprint, **result)


if __name__ == "__main__":
    main()
