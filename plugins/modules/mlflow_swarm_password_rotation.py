#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: one step of a rotation of the password of a database that a swarm serves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_swarm_password_rotation
short_description: One step of a rotation of the password of a database that a swarm serves
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Servers are replaced one after the other, so that those of before and after overlap, and a role of PostgreSQL has
    one password. Servers log in as a second role meanwhile, which role C(mlflow_rotate) makes and removes on the
    database's node, in between.
  - PostgreSQL is started anew once.
  - Runs on the stack's home, a manager of the swarm.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
    details:
      - Only V(planned) does something in check mode.
  diff_mode:
    support: none
    details:
      - The files hold passwords.
  idempotent:
    support: partial
    details:
      - A rotation can be finished once.
options:
  state:
    description:
      - With V(planned), only look, and refuse what would fail on the way.
      - With V(begun), put the old and the new password aside, where that is not done yet.
      - With V(bridged), let the servers log in as the second role, with the new password.
      - With V(replaced), give PostgreSQL the new password, require that the old one is refused, and let the servers log
        in as before.
      - With V(finished), forget the old password.
    type: str
    choices: [planned, begun, bridged, replaced, finished]
    required: true
  nodes:
    description:
      - Ids of the nodes that the play can ask, for V(planned).
    type: list
    elements: str
    default: []
  wait_timeout:
    description:
      - Seconds that one container may take to begin.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Require a database whose password can be replaced
  freegee.mlflow_sftp.mlflow_swarm_password_rotation:
    directory: /opt/mlflow-stack
    state: planned
    nodes: "{{ nodes }}"
"""

RETURN = r"""
statements:
  description:
    - What PostgreSQL has to be told on its node, in SQL. With V(begun), it has a password.
  returned: with O(state=begun) and O(state=replaced)
  type: str
database:
  description: The container of PostgreSQL, and the id of the node that it runs on.
  returned: with O(state=begun) and O(state=replaced)
  type: dict
  contains:
    node:
      description: Id of the node.
      type: str
    container:
      description: Id of the container.
      type: str
message:
  description: What was done, or would be, for people.
  returned: success
  type: str
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
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
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.swarm_password import (
    END,
    PasswordRotation,
)

_MESSAGES = {
    "planned": (
        "The password of the swarm's database is to be replaced: servers log in as another role for a while, one after "
        "the other, PostgreSQL is started anew, and servers log in as before."
    ),
    "begun": "Old and new password lie aside.",
    "bridged": "The servers log in as another role.",
    "replaced": "The database has the new password and refuses the old one; the servers log in as before.",
    "finished": "The password of the swarm's database was replaced: the new one is accepted, the old one refused.",
}


def require_free(stack: Stack, rotation: PasswordRotation) -> None:
    """Require that no cutover is in the way; a rotation that was begun goes on."""
    records = load_all(stack.settings.switches)
    require_none_interrupted(records)
    if not rotation.interrupted:
        require_none_planned(records, stack.settings.switches)


def carry_out(rotation: PasswordRotation, state: str) -> dict[str, Any]:
    """Make a step; return what is told of it."""
    if state == "begun":
        return {"statements": rotation.begin(), "database": asdict(rotation.database())}
    if state == "bridged":
        rotation.bridge()
    elif state == "replaced":
        rotation.replace()
        return {"statements": END, "database": asdict(rotation.database())}
    else:
        rotation.finish()
    return {}


def run(module: AnsibleModule) -> dict[str, Any]:
    """Look, or make the step that the state asks for."""
    state = module.params["state"]
    stack = Stack(settings_of(module.params, "wait_timeout"))
    rotation = PasswordRotation(stack)
    require_free(stack, rotation)
    if state == "planned":
        rotation.require_possible(module.params["nodes"])
    told = {"message": _MESSAGES[state], "changed": state != "planned"}
    if state == "planned" or module.check_mode:
        return told
    stack.settings.switches.mkdir(mode=0o700, exist_ok=True)
    with locked(stack.settings.switches):
        require_free(stack, rotation)
        return {**told, **carry_out(rotation, state)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["planned", "begun", "bridged", "replaced", "finished"],
                "required": True,
            },
            "nodes": {"type": "list", "elements": "str", "default": []},
            "wait_timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
