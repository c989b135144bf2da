#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: a user of MLflow's own login."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_user
short_description: Create, change or delete a user of MLflow's own login
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Talks to an MLflow server that runs with its own login (C(--app-name basic-auth)) over its HTTP API, as an
    administrator. A login as the user tells whether the password is right already.
  - A server that remembers passwords (C(auth_cache_ttl_seconds)) may accept an old one for so long in a worker process
    other than the one that changed it, and is told so here as well.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows whether there is a password, and whether it changes, never the password.
  idempotent:
    support: full
options:
  url:
    description:
      - Address of the MLflow server.
    type: str
    default: http://127.0.0.1:5000
  login_user:
    description:
      - An administrator of MLflow's.
    type: str
    default: admin
  login_password:
    description:
      - The administrator's password.
    type: str
    required: true
  name:
    description:
      - Name of the user.
    type: str
    required: true
  password:
    description:
      - Password, of 12 ASCII characters or more. Needed for a user who is not there yet.
    type: str
  update_password:
    description:
      - With V(always), a user who is there gets O(password) again if it is another one by now.
      - With V(on_create), only a new user gets it, and may change it in MLflow.
    type: str
    choices: [always, on_create]
    default: always
  admin:
    description:
      - Whether the user is an administrator, who may do everything.
    type: bool
    default: false
  permissions:
    description:
      - What the user may do, besides what MLflow's default permission gives. What else was granted to the user alone on
        experiments and registered models is revoked, but for V(MANAGE) on a single one, which MLflow gives
        whoever makes it. Permissions by a role of several users stay.
    type: list
    elements: dict
    default: []
    suboptions:
      experiment:
        description:
          - Name of an experiment, or V(*) for all. One that is not there is warned of, and the rest is done.
        type: str
      registered_model:
        description:
          - Name of a registered model, or V(*) for all. It need not be there yet.
        type: str
      permission:
        description:
          - What is granted. V(NO_PERMISSIONS) revokes also V(MANAGE), and V(DENY) refuses whatever else allows it.
        type: str
        required: true
        choices: [READ, USE, EDIT, MANAGE, DENY, NO_PERMISSIONS]
  state:
    description:
      - Whether there should be such a user. Experiments and models of a user who is deleted stay.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Of the password of the administrator, nothing is changed here.
"""

EXAMPLES = r"""
- name: Create a user who may log to one experiment and read all models
  freegee.mlflow_sftp.mlflow_user:
    login_password: "{{ vault_mlflow_admin_password }}"
    name: alice
    password: "{{ vault_alice_password }}"
    permissions:
      - { experiment: churn, permission: EDIT }
      - { registered_model: "*", permission: READ }

- name: Delete a user
  freegee.mlflow_sftp.mlflow_user:
    login_password: "{{ vault_mlflow_admin_password }}"
    name: alice
    state: absent
"""

RETURN = r"""
created:
  description: Whether the user was not there before.
  returned: success
  type: bool
password_changed:
  description: Whether a user who was there has another password now.
  returned: success
  type: bool
granted:
  description: What was granted.
  returned: success
  type: list
  elements: str
  sample: [EDIT on experiment 3]
revoked:
  description: What was revoked.
  returned: success
  type: list
  elements: str
missing:
  description: Names of experiments that are not there, so that nothing could be granted on them.
  returned: success
  type: list
  elements: str
"""

from collections.abc import Collection
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.api import Users, UsersError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.decisions import (
    Changes,
    Present,
    Wanted,
    changes,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import (
    PERMISSIONS,
    Grant,
    grants_of,
    name_problem,
    password_problem,
    permission_problems,
)


def require_usable(module: AnsibleModule) -> None:
    """End with all that is wrong with the options."""
    name, password = module.params["name"], module.params["password"]
    logs_in = module.params["state"] == "present"
    found = [name_problem(name, logs_in), password_problem(password) if password is not None else ""]
    found += list(permission_problems([_given(each) for each in module.params["permissions"]]))
    if any(found):
        problems = " ".join(f"{name or 'The user'} {each}" for each in found if each)
        module.fail_json(msg=f"{problems} Nothing has been changed.")


def _given(options: dict) -> dict:
    return {key: value for key, value in options.items() if value is not None}


def known(users: Users, grants: Collection[Grant]) -> tuple[frozenset[Grant], list[str]]:
    """Return grants with the ids of experiments in place of their names, and the names of those that are not there."""
    found, missing = set(), []
    for grant in grants:
        if grant.kind != "experiment" or grant.name == "*":
            found.add(grant)
        elif identifier := users.experiment_id(grant.name):
            found.add(replace(grant, name=identifier))
        else:
            missing.append(grant.name)
    return frozenset(found), missing


def described(user: Present | Wanted | None, password: str) -> str:
    """Return a user as the diff shows him."""
    if user is None:
        return ""
    lines = [f"admin: {str(user.admin).lower()}", f"password: {password}"]
    return "\n".join([*lines, *sorted(map(str, user.grants))]) + "\n"


def after(present: Present | None, wanted: Wanted, due: Changes) -> Wanted:
    """Return a user as he is once the changes are made, with what is not declared and stays."""
    kept = (present.grants if present else frozenset()) - set(due.revoke)
    return replace(wanted, grants=frozenset(kept | set(due.grant)))


def provide(module: AnsibleModule, users: Users) -> dict:
    """Make or change the user, and return the result."""
    name, password = module.params["name"], module.params["password"] or ""
    grants, missing = known(users, grants_of(module.params["permissions"]))
    tried = password if module.params["update_password"] == "always" else ""  # noqa: S105  # A choice.
    present = users.present(name, tried)
    if present is None and not password:
        module.fail_json(
            msg=f"There is no user {name} yet, and a new one needs a password. Nothing has been changed."
        )
    wanted = Wanted(password, module.params["admin"], grants)
    due = changes(present, wanted)
    if due.needed and not module.check_mode:
        users.change(name, wanted, due)
    for each in missing:
        module.warn(
            f"{name} is granted nothing on the experiment {each}, which is not there; run this again later."
        )
    shown = "another one" if due.password else "the same"
    return {
        "changed": due.needed,
        "created": due.create,
        "password_changed": due.password,
        "granted": [str(grant) for grant in due.grant],
        "revoked": [str(grant) for grant in due.revoke],
        "missing": missing,
        "diff": {
            "before": described(present, "the same"),
            "after": described(after(present, wanted, due), shown),
            "before_header": name,
            "after_header": name,
        },
    }


def remove(module: AnsibleModule, users: Users) -> dict:
    """Delete the user, and return the result."""
    name = module.params["name"]
    present = users.present(name, "")
    if present is not None and not module.check_mode:
        users.remove(name)
    diff = {
        "before": described(present, "the same"),
        "after": "",
        "before_header": name,
        "after_header": name,
    }
    nothing: dict = {"created": False, "password_changed": False, "granted": [], "revoked": [], "missing": []}
    return {"changed": present is not None, **nothing, "diff": diff}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:5000"},
            "login_user": {"type": "str", "default": "admin"},
            "login_password": {"type": "str", "required": True, "no_log": True},
            "name": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "update_password": {
                "type": "str",
                "choices": ["always", "on_create"],
                "default": "always",
                "no_log": False,
            },
            "admin": {"type": "bool", "default": False},
            "permissions": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "experiment": {"type": "str"},
                    "registered_model": {"type": "str"},
                    "permission": {"type": "str", "required": True, "choices": list(PERMISSIONS)},
                },
            },
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    require_usable(module)
    users = Users(module.params["url"], module.params["login_user"], module.params["login_password"])
    deed = provide if module.params["state"] == "present" else remove
    try:
        result = deed(module, users)
    except UsersError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
