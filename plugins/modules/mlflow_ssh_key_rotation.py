#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: one step of a rotation of a stack's SSH key, on its Docker host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_ssh_key_rotation
short_description: One step of a rotation of a stack's SSH key, on its Docker host
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Decides how far a rotation is, from the keys that there are, and makes the steps that change files. Authorizing the
    new key, proving both and removing the old one are done by other modules in between, as role C(mlflow_rotate)
    calls them.
  - Old and new key lie in C(.secrets/rotation) below O(directory) from the first step to the last, so that an
    interrupted rotation goes on. Each file has its old content or the new one at any moment.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - The files hold private keys.
  idempotent:
    support: partial
    details:
      - A rotation can be finished once.
options:
  state:
    description:
      - With V(planned), only decide.
      - With V(begun), put the old and the new key aside, where that is not done yet.
      - With V(installed), give the services the new key, and with V(restored) the old one again. What connects from
        then on uses it; no container is started anew.
      - With V(proved), require that the services have the new key, and that no other run has gone on. What brings keys
        to the Docker host refuses the old one from then on.
      - With V(finished), forget the old key.
      - A state that does not fit how far the rotation is, is an error.
    type: str
    choices: [planned, begun, installed, restored, proved, finished]
    required: true
  private_key:
    description:
      - Text of the new private key. Without it, one is generated, of the type of the old one.
    type: str
  private_key_source:
    description:
      - Where O(private_key) comes from, for messages.
    type: str
    default: ""
  generate:
    description:
      - Whether a key may be generated. Otherwise, a rotation needs O(private_key).
    type: bool
    default: true
  run:
    description:
      - Any text that tells a run of a playbook from others. V(begun) makes this run the one whose steps are made, and
        so does V(installed) where the services have the new key already. From then on, steps of another run are errors.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Decide what the rotation does
  freegee.mlflow_sftp.mlflow_ssh_key_rotation:
    directory: /opt/mlflow-stack
    state: planned
  register: rotation
"""

RETURN = r"""
phase:
  description:
    - How far the rotation is. With V(begin), nothing was done. With V(authorize), the services have the old key. With
      V(retire), they have the new one. With V(forget), only what was put aside is left.
  returned: success
  type: str
  sample: begin
message:
  description: The same as a sentence.
  returned: success
  type: str
hindrance:
  description:
    - Why no rotation can begin here, unless another Docker host has begun the same one; empty where it can. With
      another O(state) than V(planned), this is an error.
  returned: success
  type: str
current_file:
  description: File with the private key of the services on the Docker host.
  returned: success
  type: str
current_key:
  description: Public half of the key of the services, C(type base64).
  returned: success
  type: str
old:
  description: The key that the rotation replaces.
  returned: success
  type: dict
  contains: &key
    public_key:
      description: Public half, C(type base64). Empty for a key that is yet to be generated.
      type: str
    private_key_file:
      description: File with the private key on the Docker host.
      type: str
new:
  description: The key that takes its place.
  returned: success
  type: dict
  contains: *key
"""

import traceback
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
    require_none_interrupted,
    require_none_planned,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.decisions import (
    AUTHORIZE,
    BEGIN,
    Decision,
    decide,
    is_due,
)

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.key_text import KeyTextError
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.key_files import (
        KeyFiles,
        public_half,
    )

    CRYPTOGRAPHY_ERROR = None
except ImportError:
    CRYPTOGRAPHY_ERROR = traceback.format_exc()


def given_key(text: str | None) -> PublicKey | None:
    """Return the public half of the key that the user brings."""
    try:
        return public_half(text) if text else None
    except KeyTextError as error:
        raise RefusedError(f"The new private key {error}. Nothing was changed") from error


def carry_out(module: AnsibleModule, files: KeyFiles, phase: str) -> bool:
    """Make the step that the state asks for, if it is not made yet; return whether there was anything to do."""
    state, this_run = module.params["state"], module.params["run"]
    if state == "planned":
        return False
    due = is_due(state, phase, this_run, files.claimed_by)
    if module.check_mode:
        return due
    if due:
        deeds = {
            "begun": lambda: files.begin(module.params["private_key"] or None),
            "installed": files.install,
            "restored": files.restore,
            "proved": files.retire,
            "finished": files.finish,
        }
        deeds[state]()
    if state in ("begun", "installed"):
        files.claim(this_run)
    # What is recorded then is no change of a key.
    return due and state != "proved"


def key(public: PublicKey | None, file: Path) -> dict:
    """Return what the module tells of a key."""
    return {
        "public_key": f"{public.type} {public.blob}" if public else "",
        "private_key_file": str(file),
    }


def result(decision: Decision, files: KeyFiles) -> dict:
    """Return what the module tells of a rotation."""
    old_file = files.before if files.before.exists() else files.current
    current = key(files.keys().current, files.current or files.before)
    return {
        "phase": decision.phase,
        "message": str(decision),
        "hindrance": decision.hindrance,
        "current_file": current["private_key_file"],
        "current_key": current["public_key"],
        "old": key(decision.old, old_file or files.before),
        "new": key(decision.new, files.following),
    }


def run(module: AnsibleModule) -> dict:
    """Decide, and make the step that the state asks for."""
    settings = settings_of(module.params)
    files = KeyFiles(settings.directory, settings.uid, settings.gid)
    require_none_interrupted(load_all(settings.switches))

    def decided() -> Decision:
        given = given_key(module.params["private_key"])
        # What was begun needs no further key.
        generates = module.params["generate"] or module.params["state"] != "planned"
        source = module.params["private_key_source"]
        found = decide(files.keys(), given, generates=generates, place=str(files.place), source=source)
        if found.phase in (BEGIN, AUTHORIZE):
            require_none_planned(load_all(settings.switches), settings.switches)
        if found.hindrance and module.params["state"] != "planned":
            raise RefusedError(found.hindrance)
        return found

    if files.certificate is not None:
        raise RefusedError(
            f"{files.certificate} certifies the key in use, which an authority vouches for. Nothing was changed",
            "Put a new key with a certificate of its own into the inventory and run site.yml; then have the authority "
            "revoke the old certificate",
        )
    decision = decided()
    if module.params["state"] == "planned" or module.check_mode:
        return {"changed": carry_out(module, files, decision.phase), **result(decision, files)}
    settings.switches.mkdir(mode=0o700, exist_ok=True)
    with locked(settings.switches):
        require_none_interrupted(load_all(settings.switches))
        decision = decided()
        changed = carry_out(module, files, decision.phase)
        if module.params["state"] != "finished":
            decision = decided()
    return {"changed": changed, **result(decision, files)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["planned", "begun", "installed", "restored", "proved", "finished"],
                "required": True,
            },
            "private_key": {"type": "str", "no_log": True},
            "private_key_source": {"type": "str", "default": "", "no_log": False},
            "generate": {"type": "bool", "default": True},
            "run": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if CRYPTOGRAPHY_ERROR:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=CRYPTOGRAPHY_ERROR)
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
